// Bytes per stage before any work: the phases themselves, run on a counting arena.
import Compute

/// What a run will hold, stage by stage.
package struct MemoryPlan: Sendable {
  package var tiling: Tiling
  package var threads: Int
  /// Stages in order, with arena high-water marks and weights.
  package var stages: [StageEntry]
  /// Private memory outside the arena: program, tables, decoders' and encoders' buffers.
  package var fixedByteCount: Int
  /// Small copies, decoder and resizer buffers while the photo is read.
  package var imageByteCount: Int

  package var arenaByteCount: Int { stages.map(\.arenaByteCount).max() ?? 0 }

  /// Private memory of one stage.
  package func anonymous(_ stage: StageEntry) -> Int {
    stage.arenaByteCount + fixedByteCount + (stage.name == "photo" ? imageByteCount : 0)
  }

  package var peak: Int { stages.map(anonymous).max() ?? fixedByteCount }
  package var peakStage: String { stages.max { anonymous($0) < anonymous($1) }?.name ?? "start" }
  package var hotWeightByteCount: Int { stages.map(\.hotWeightByteCount).max() ?? 0 }
}

/// Ways to cut the work, from fast to small. Results are the same for all of them.
package enum TilingLadder {
  package static func candidates(threads: Int) -> [(threads: Int, tiling: Tiling)] {
    var result: [(Int, Tiling)] = []
    func add(_ threads: Int, _ rows: Int, _ strip: Int, _ windows: Int, _ textRows: Int) {
      var tiling = Tiling()
      tiling.rows = rows
      tiling.strip = strip
      tiling.windows = windows
      tiling.textRows = textRows
      result.append((threads, tiling))
    }
    add(threads, 128, 32, 4, 2048)
    add(threads, 128, 32, 2, 1024)
    add(threads, 64, 16, 1, 1024)
    add(threads, 32, 8, 1, 512)
    var fewer = threads / 2
    while fewer >= 1 {
      add(fewer, 64, 16, 1, 1024)
      add(fewer, 32, 8, 1, 512)
      if fewer == 1 { add(1, 16, 4, 1, 512) }
      fewer /= 2
    }
    return result
  }
}
