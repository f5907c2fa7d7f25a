import Supervisor

/// Records that are on disk, as many as fit. Two generations instead of a list: when the young one is full it becomes
/// the old one, and what was not asked for meanwhile is forgotten.
struct RecordCache {
  private var young: [JobID: JobRecord] = [:]
  private var old: [JobID: JobRecord] = [:]
  private var youngBytes = 0
  private let generationBytes: Int

  init(maximumBytes: Int) { generationBytes = maximumBytes / 2 }

  subscript(id: JobID) -> JobRecord? {
    mutating get {
      if let record = young[id] { return record }
      guard let record = old[id] else { return nil }
      insert(record)
      return record
    }
  }

  mutating func insert(_ record: JobRecord) {
    young[record.job.id] = record
    youngBytes += Self.bytes(record)
    guard youngBytes > generationBytes else { return }
    old = young
    young = [:]
    youngBytes = 0
  }

  mutating func remove(_ id: JobID) {
    young[id] = nil
    old[id] = nil
  }

  /// What a record takes in memory, roughly.
  private static func bytes(_ record: JobRecord) -> Int {
    let job = record.job
    var bytes = 500 + job.payload.utf8.count + job.callerID.utf8.count + job.contextID.utf8.count
    if case .success(let text)? = record.result { bytes += text.utf8.count }
    if case .error(let text)? = record.result { bytes += text.utf8.count }
    return bytes + job.environment.reduce(0) { $0 + $1.key.rawValue.utf8.count + $1.value.utf8.count + 64 }
  }
}
