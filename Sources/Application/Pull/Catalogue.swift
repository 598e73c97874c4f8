// Published checkpoints by name: where they are, what is known of them, and which models they make.
import System

/// One file that somebody published.
package struct PublishedFile: Equatable, Sendable {
  /// As `pull` and `Scripts/models.sh` call it.
  package let name: String
  package let address: String
  /// Below the folder of checkpoints, and below a mirror.
  package let file: String
  /// Rounded, as it is told before a download; bytes.
  package let about: Int
  /// SHA-256 that the publisher states, in lower-case hexadecimal; nil: none is stated.
  package let sha256: String?
  package let licence: String
}

/// What `trident-quantize` makes of some of them.
package struct PublishedModel: Equatable, Sendable {
  package let name: String
  /// What it is for, in a few words.
  package let purpose: String
  /// Flags of `trident-quantize`, and the file that each names.
  package let parts: [Part]
  /// Further arguments.
  package let arguments: [String]
  /// Whether `segment` reads it; else it encodes words for another.
  package let segments: Bool

  package struct Part: Equatable, Sendable {
    package let flag: String
    package let file: PublishedFile
  }
}

/// Everything that `trident pull` knows. Addresses, sums and licences are those of models/README.md; a test
/// compares names, names of files and sums with `Scripts/models.sh`.
package enum Catalogue {
  private static let openAIBase = "https://openaipublic.azureedge.net/clip/models"
  private static let meta = "https://dl.fbaipublicfiles.com"
  private static let hub = "https://huggingface.co"
  private static let salesforce = "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models"

  package static let files: [PublishedFile] = clip + others

  private static func openAI(_ name: String, _ file: String, _ about: Int, _ sum: String) -> PublishedFile {
    PublishedFile(
      name: name, address: "\(openAIBase)/\(sum)/\(file)", file: file, about: about, sha256: sum,
      licence: "MIT (openai/CLIP)")
  }

  private static func file(
    _ name: String, _ address: String, _ about: Int, _ licence: String, as file: String? = nil,
    sum: String? = nil
  ) -> PublishedFile {
    PublishedFile(
      name: name, address: address, file: file ?? fileName(of: address), about: about, sha256: sum,
      licence: licence)
  }

  private static let clip = [
    openAI(
      "clip-b16", "ViT-B-16.pt", 350_000_000,
      "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
    openAI(
      "clip-l14", "ViT-L-14.pt", 930_000_000,
      "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
    openAI(
      "clip-l14-336", "ViT-L-14-336px.pt", 930_000_000,
      "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"),
    file(
      "clip-h14", "\(hub)/laion/CLIP-ViT-H-14-laion2B-s32B-b79K/resolve/main/open_clip_pytorch_model.bin",
      3_900_000_000, "MIT (LAION's model card)", as: "laion-h14/open_clip_pytorch_model.bin"),
    file(
      "metaclip-b16", "\(meta)/MMPT/metaclip/b16_fullcc2.5b.pt", 600_000_000,
      "CC-BY-NC 4.0 (facebookresearch/MetaCLIP): not for commercial use", as: "metaclip-b16-fullcc2.5b.pt"),
    file(
      "vocab", "https://raw.githubusercontent.com/openai/CLIP/main/clip/bpe_simple_vocab_16e6.txt.gz",
      1_400_000, "MIT (openai/CLIP)",
      sum: "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"),
  ]

  private static let others: [PublishedFile] = {
    let apache = "Apache 2.0"
    let nvidia = "NVIDIA Open Model License (model card): read its terms of attribution"
    let siglip = "\(hub)/google/siglip2-so400m-patch16-naflex/resolve/main"
    func dino(_ name: String, _ file: String, _ about: Int) -> PublishedFile {
      Self.file(name, "\(meta)/dino/\(file)/\(file).pth", about, "\(apache) (facebookresearch/dino)")
    }
    func dinov2(_ name: String, _ size: String, _ about: Int, registers: Bool = false) -> PublishedFile {
      let file = "dinov2_\(size)\(registers ? "_reg4" : "")_pretrain.pth"
      return Self.file(
        name, "\(meta)/dinov2/dinov2_\(size)/\(file)", about, "\(apache) (facebookresearch/dinov2)")
    }
    func sam(_ name: String, _ file: String, _ about: Int) -> PublishedFile {
      Self.file(
        name, "\(meta)/segment_anything/\(file)", about, "\(apache) (facebookresearch/segment-anything)")
    }
    return [
      dino("dino-b16", "dino_vitbase16_pretrain", 340_000_000),
      dino("dino-b8", "dino_vitbase8_pretrain", 340_000_000),
      dino("dino-s16", "dino_deitsmall16_pretrain", 90_000_000),
      dino("dino-s8", "dino_deitsmall8_pretrain", 90_000_000),
      dinov2("dinov2-s14", "vits14", 90_000_000),
      dinov2("dinov2-b14", "vitb14", 350_000_000),
      dinov2("dinov2-b14-reg", "vitb14", 350_000_000, registers: true),
      dinov2("dinov2-l14", "vitl14", 1_200_000_000),
      sam("sam-b", "sam_vit_b_01ec64.pth", 380_000_000),
      sam("sam-l", "sam_vit_l_0b3195.pth", 1_250_000_000),
      sam("sam-h", "sam_vit_h_4b8939.pth", 2_560_000_000),
      file(
        "radio-b", "\(hub)/nvidia/C-RADIOv3-B/resolve/main/c-radio_v3-b_half.pth.tar", 300_000_000, nvidia),
      file(
        "radio-l", "\(hub)/nvidia/C-RADIOv3-L/resolve/main/c-radio_v3-l_half.pth.tar", 800_000_000, nvidia),
      file(
        "siglip2-text", "\(siglip)/model.safetensors", 4_500_000_000, "\(apache) (model card)",
        as: "siglip2-so400m/model.safetensors"),
      file(
        "siglip2-tokenizer", "\(siglip)/tokenizer.json", 34_000_000, "Gemma's terms (model card)",
        as: "siglip2-so400m/tokenizer.json"),
      file(
        "blip-base", "\(salesforce)/model_base_retrieval_coco.pth", 2_000_000_000,
        "BSD 3-Clause (salesforce/BLIP)"),
      file(
        "blip-large", "\(salesforce)/model_large_retrieval_flickr.pth", 4_000_000_000,
        "BSD 3-Clause (salesforce/BLIP)"),
      file(
        "bert-vocab", "\(hub)/bert-base-uncased/resolve/main/vocab.txt", 230_000, "\(apache) (model card)"),
    ]
  }()

  /// Models, the usual one first.
  package static let models: [PublishedModel] = [
    model(
      "trident-b16", "Trident, the usual one",
      ["--clip clip-b16", "--dino dino-b16", "--sam sam-b", "--vocab vocab"]),
    model(
      "trident-h14", "Trident, the largest",
      ["--clip clip-h14", "--dino dino-b16", "--sam sam-h", "--vocab vocab"],
      arguments: ["--activation", "gelu"]),
    model(
      "trident-b16-dinov2", "Trident with DINOv2 (registers) in DINO's place",
      ["--clip clip-b16", "--dino dinov2-b14-reg", "--sam sam-b", "--vocab vocab"]),
    model("sc-clip-b16", "SC-CLIP: CLIP alone, small and fast", ["--clip clip-b16", "--vocab vocab"]),
    model("radseg-b", "RADSeg; words from siglip2-so400m-text", ["--radio radio-b"]),
    model(
      "siglip2-so400m-text", "words for RADSeg, by 'trident text'",
      ["--siglip-text siglip2-text", "--tokenizer siglip2-tokenizer"], segments: false),
    model("pnp-blip-base", "PnP-OVSS and 'trident match'", ["--blip blip-base", "--vocab bert-vocab"]),
    model("pnp-blip-large", "the same, larger", ["--blip blip-large", "--vocab bert-vocab"]),
  ]

  private static func model(
    _ name: String, _ purpose: String, _ parts: [String], arguments: [String] = [], segments: Bool = true
  ) -> PublishedModel {
    let parts = parts.map { text -> PublishedModel.Part in
      let words = text.split(separator: " ").map(String.init)
      guard let file = files.first(where: { $0.name == words[1] }) else {
        preconditionFailure("no file '\(words[1])'")
      }
      return PublishedModel.Part(flag: words[0], file: file)
    }
    return PublishedModel(
      name: name, purpose: purpose, parts: parts, arguments: arguments, segments: segments)
  }
}
