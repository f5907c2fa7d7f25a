import ExactText

// Reading a whole store while others write it, a page at a time, without holding it still meanwhile.
//
// A job only ever moves forward: it is created, then it waits or runs, then it has ended. So whoever reads all that is
// created, then all that is in line, then all that has ended, meets every job at least once, whatever happens between
// two pages, or between two processes that read one after the other. A job that moves on meanwhile is met twice.

/// A third of an export, in the order of reading.
public enum ExportPart: String, CaseIterable, Sendable {
  /// Created and never queued, oldest first.
  case created
  /// Queued or running, in the order of the queues.
  case inLine = "in-line"
  /// Ended, oldest first.
  case ended

  /// The statuses of its jobs.
  public var statuses: [JobStatus] {
    switch self {
    case .created: [.created]
    case .inLine: [.queued, .running]
    case .ended: [.completed, .failed, .timeout]
    }
  }

  /// What comes after it.
  public var next: ExportPart? {
    switch self {
    case .created: .inLine
    case .inLine: .ended
    case .ended: nil
    }
  }
}

/// How far an export has come. As text it outlives the process: `ended:1790000000000:17`.
public struct ExportPosition: Hashable, Sendable, CustomStringConvertible {
  public let part: ExportPart
  /// Where the last job before stands in its part, as the store orders it; empty at the part's start.
  public let place: [Int64]

  public init(_ part: ExportPart, place: [Int64] = []) {
    self.part = part
    self.place = place
  }

  public static let start = ExportPosition(.created)

  /// Reads what `description` wrote.
  public init?(_ text: String) {
    let words = text.utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
      .map { String(Substring($0)) }
    let numbers = words.dropFirst().compactMap { Int64($0) }
    guard let part = ExportPart(exactly: words[0]), numbers.count == words.count - 1 else { return nil }
    self.init(part, place: numbers)
  }

  public var description: String { ([part.rawValue] + place.map { "\($0)" }).joined(separator: ":") }
}

/// A job with all that a store has of it.
public struct ExportedJob: Hashable, Sendable {
  public let record: JobRecord
  /// What it wrote; `nil` as long as it has not ended.
  public let output: JobOutput?

  public init(record: JobRecord, output: JobOutput?) {
    self.record = record
    self.output = output
  }
}

/// Some jobs of one part.
public struct ExportPage: Hashable, Sendable {
  public let jobs: [ExportedJob]
  /// Where to go on; `nil` when that was all. There may be no jobs in between.
  public let next: ExportPosition?

  /// - Parameter isWhole: whether nothing of the part comes after these jobs.
  public init(_ jobs: [ExportedJob], of part: ExportPart, isWhole: Bool, lastPlace: [Int64]) {
    self.jobs = jobs
    next = isWhole ? part.next.map { ExportPosition($0) } : ExportPosition(part, place: lastPlace)
  }
}
