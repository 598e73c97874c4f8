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

  /// Adds the stages of a plan that runs before this one, with an arena of its own.
  ///
  /// The other plan's fixed part may differ; its stages keep what they will hold.
  package mutating func precede(with other: MemoryPlan) {
    let difference = other.fixedByteCount - fixedByteCount
    stages =
      other.stages.map { stage in
        var stage = stage
        stage.arenaByteCount += difference
        return stage
      } + stages
  }

  /// Of all stages.
  package var work: Work { stages.reduce(Work()) { $0 + $1.work } }

  package var arenaByteCount: Int { stages.map(\.arenaByteCount).max() ?? 0 }

  /// Private memory of one stage.
  package func anonymous(_ stage: StageEntry) -> Int {
    stage.arenaByteCount + fixedByteCount + stage.imageByteCount
  }

  package var peak: Int { stages.map(anonymous).max() ?? fixedByteCount }
  package var peakStage: Stage? { stages.max { anonymous($0) < anonymous($1) }?.stage }
  /// As users read it: "start" before any stage.
  package var peakStageName: String { peakStage?.name ?? "start" }
  package var hotWeightByteCount: Int { stages.map(\.hotWeightByteCount).max() ?? 0 }
}
