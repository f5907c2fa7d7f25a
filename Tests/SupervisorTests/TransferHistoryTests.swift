import Foundation
import Testing

@testable import Supervisor

// `HERO_TRANSFER_HISTORIES` is how many histories are tried, 1,000 by itself; the first seed is half of `HERO_SEED`.

@Suite("The transfer of jobs between stores", .timeLimit(.minutes(20)))
struct TransferHistoryTests {
  private static let environment = ProcessInfo.processInfo.environment
  private static let histories = environment["HERO_TRANSFER_HISTORIES"].flatMap(Int.init) ?? 1000

  /// Disturbs nodes, then lets all come to rest.
  private func history(_ seed: UInt64, fault: TransferModel.Fault? = nil) -> TransferModel {
    var model = TransferModel(seed: seed, fault: fault)
    for _ in 0..<300 where model.violations.isEmpty { model.advance(isQuiet: false) }
    model.heal()
    var rest = 20_000
    while rest > 0, model.violations.isEmpty, !model.isSettled {
      model.advance(isQuiet: true)
      rest -= 1
    }
    if model.violations.isEmpty, !model.isSettled { model.violations.append("no rest: \(model.unrest)") }
    return model
  }

  @Test("no history loses a job, repeats one, runs it at two places, or breaks order and concurrency")
  func histories() {
    let first = (Self.environment["HERO_SEED"].flatMap(UInt64.init) ?? .random(in: 0...UInt64.max)) >> 1
    print("transfer histories \(first) to \(first + UInt64(Self.histories) - 1)")
    var (jobs, moves) = (0, 0)
    for seed in first..<(first + UInt64(Self.histories)) {
      let model = history(seed)
      jobs += model.acknowledged.count
      moves += model.moves
      guard model.violations.isEmpty else {
        Issue.record("seed \(seed): \(model.violations)\n\(model.log.suffix(60).joined(separator: "\n"))")
        break
      }
    }
    print("\(jobs) jobs, \(moves) moves")
    #expect(moves > Self.histories / 4)
  }

  @Test("each rule of the protocol is needed", arguments: TransferModel.Fault.allCases)
  func faults(_ fault: TransferModel.Fault) {
    let isNoticed = (UInt64(0)..<5000).contains { !history($0, fault: fault).violations.isEmpty }
    #expect(isNoticed, "\(fault) breaks nothing")
  }
}
