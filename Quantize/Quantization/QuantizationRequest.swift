// What to build, as the command line or a test asks for it.

import Segmentation

/// What to build.
package struct QuantizationRequest: Sendable {
  /// Of CLIP. With one tower the file names the text tower, so that a vocabulary made with the one is used
  /// with the other.
  package enum Towers: Sendable { case both, image, text }

  package var clip: String
  /// What of CLIP goes into the file.
  package var towers = Towers.both
  /// Nil: the file holds no DINO.
  package var dino: String?
  /// Nil: the file holds no SAM.
  package var sam: String?
  /// C-RADIO with its heads; then nothing else is read but, for RADSeg+, SAM.
  package var radio: String?
  /// SigLIP 2, of which the text tower is taken; then nothing else is read.
  package var siglipText: String?
  /// BLIP for image-text matching: a file or a snapshot folder; then nothing else is read.
  package var blip: String?
  /// Of the text tower: byte pairs for CLIP, SentencePiece for SigLIP, WordPiece for BLIP. Found beside the
  /// checkpoint if nil.
  package var vocabulary: String?
  package var output: String
  package var activation: CLIPActivation?
  package var clipHeadWidth: Int?
  package var textHeadWidth: Int?
  package var dinoHeadWidth: Int?
  /// How DINOv2's position table is resampled; nil: as its names and registers tell.
  package var dinoPositions: PositionRule?
  /// The one window that C-RADIO's positions are stored for, pixels; nil: the whole table.
  package var radioWindow: Int?
  /// Mean and deviation of the pixels that CLIP was trained on, of pixels from 0 to 1.
  package var clipMean: SIMD3<Float>?
  package var clipDeviation: SIMD3<Float>?
  /// A file of CLIP alone keeps the last image block's MLP, which other files have anyway.
  package var keepsLastMLP = false
  /// Image blocks of CLIP whose MLPs lose their loudest channel; nil: none do.
  package var suppressed: SuppressedBlocks?
  /// Of several copies of a network, the one whose names begin so.
  package var clipPrefix: String?
  package var dinoPrefix: String?
  package var samPrefix: String?
  /// `general.name`; made from the file names if nil.
  package var name: String?
  /// A class file with the words that training saw, where those are few; the model file tells them.
  package var words: String?
  package var overwrite = false
  /// A folder of photos to calibrate with; nil: weights stay as they are.
  package var calibration: String?

  /// A model of C-RADIO, and of SAM what RADSeg+ needs.
  package init(radio: String, sam: String? = nil, output: String) {
    self.init(clip: "", sam: sam, output: output)
    self.radio = radio
  }

  /// A model of SigLIP 2's text tower alone.
  package init(siglipText: String, tokenizer: String? = nil, output: String) {
    self.init(clip: "", output: output)
    (self.siglipText, vocabulary) = (siglipText, tokenizer)
  }

  /// A model of BLIP alone.
  package init(blip: String, vocabulary: String? = nil, output: String) {
    self.init(clip: "", output: output)
    (self.blip, self.vocabulary) = (blip, vocabulary)
  }

  package init(clip: String, dino: String? = nil, sam: String? = nil, output: String) {
    self.clip = clip
    self.dino = dino
    self.sam = sam
    self.output = output
  }
}
