import JSONRPC

/// What clients asked for and were told about their jobs, and whether what the node says now agrees with it.
struct Ledger {
  struct Entry {
    var isCreated = false
    var startAsked = false
    var isStarted = false
    var stopAsked = false
    var deleteAsked = false
    var isDeleted = false
    /// `{"success": …}` or `{"error": …}`, once a client was told.
    var result: JSON?
  }

  private(set) var entries: [String: Entry] = [:]
  private var next = 0

  mutating func newID(_ kind: String) -> String {
    next += 1
    let id = "\(kind)-\(next)"
    entries[id] = Entry()
    return id
  }

  subscript(id: String) -> Entry {
    get { entries[id]! }
    set { entries[id] = newValue }
  }

  /// What is wrong with a job; `nil` when it is as a client was told, or may be.
  /// - Parameter job: as `jobs.query` describes it; `nil` when there is none.
  func fault(_ id: String, _ job: JSON?) -> String? {
    guard let entry = entries[id] else { return "\(id) was never asked for" }
    guard let job else {
      return entry.isCreated && !entry.deleteAsked ? "\(id) was acknowledged and is lost" : nil
    }
    if entry.isDeleted { return "\(id) was deleted and is there" }
    let status = job["status"]?.stringValue ?? "-"
    let result = job["result"]
    if ["completed", "failed", "timeout"].contains(status) != (result != nil) { return "\(id): \(job.text)" }
    if let told = entry.result { return told == result ? nil : "\(id) had the result \(told.text): \(job.text)" }
    switch status {
    case "created": return entry.isStarted ? "\(id) was started, and is not: \(job.text)" : nil
    case "queued", "running", "completed":
      return entry.startAsked ? nil : "\(id) was not started: \(job.text)"
    case "failed":
      let reason = result?["error"]?.stringValue ?? ""
      let isLoss = reason.hasPrefix("its node stopped while it ran") && entry.startAsked
      return isLoss || (reason == "stopped" && entry.stopAsked) ? nil : "\(id) failed: \(job.text)"
    default: return "\(id): \(job.text)"
    }
  }
}
