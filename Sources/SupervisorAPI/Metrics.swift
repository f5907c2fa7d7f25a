import Supervisor
import Synchronization

// What an operator's monitoring reads, in Prometheus' text format.

/// Counts calls, and describes the node at one instant.
public final class Metrics: Sendable {
  private struct Call: Hashable {
    let method: String?
    let code: Int?
  }

  // A lock, because the dispatcher counts from whatever task it runs in; it is never contended on one loop.
  private let calls = Mutex<[Call: Int]>([:])
  private let registry: RunnerRegistry
  /// Lines of other parts: the server, the store.
  private let others: @Sendable () async -> [Family]

  /// One metric with its samples.
  public struct Family: Sendable {
    public let name: String
    public let type: String
    public let help: String
    public let samples: [(labels: [(String, String)], value: Double)]

    public init(
      _ name: String, _ type: String, _ help: String, _ samples: [(labels: [(String, String)], value: Double)]
    ) {
      self.name = name
      self.type = type
      self.help = help
      self.samples = samples
    }
    public init(_ name: String, _ type: String, _ help: String, _ value: Double) {
      self.init(name, type, help, [([], value)])
    }
  }

  public init(registry: RunnerRegistry, others: @escaping @Sendable () async -> [Family]) {
    self.registry = registry
    self.others = others
  }

  /// Counts a call; the method is `nil` when there is none of that name.
  public func count(method: String?, code: Int?) {
    calls.withLock { $0[Call(method: method, code: code), default: 0] += 1 }
  }

  /// Everything, as `GET /metrics` answers it.
  func exposition() async -> [UInt8] {
    let statuses = await registry.localStatuses()
    func perRunner(_ value: (RunnerStatus) -> Int) -> [(labels: [(String, String)], value: Double)] {
      statuses.map { ([("runner", $0.name.rawValue), ("queue", $0.queue.rawValue)], Double(value($0))) }
    }
    let ended = statuses.flatMap { status in
      [("completed", status.completed), ("failed", status.failed), ("timeout", status.timeout)].map {
        (labels: [("runner", status.name.rawValue), ("status", $0.0)], value: Double($0.1))
      }
    }
    let starts = await registry.gate.statistics
    func perReason(_ counts: [String: Int]) -> [(labels: [(String, String)], value: Double)] {
      counts.sorted { $0.key < $1.key }.map { ([("reason", $0.key)], Double($0.value)) }
    }
    let counted = calls.withLock { $0 }.sorted {
      ($0.key.method ?? "", $0.key.code ?? 0) < ($1.key.method ?? "", $1.key.code ?? 0)
    }
    var families = [
      Family("hero_runners", "gauge", "Runners that live on this node.", Double(statuses.count)),
      Family("hero_runner_up", "gauge", "1 while the runner takes jobs.", perRunner { $0.state == .running ? 1 : 0 }),
      Family("hero_jobs_queued", "gauge", "Jobs waiting in the runner's queue.", perRunner(\.queued)),
      Family("hero_jobs_running", "gauge", "Jobs that the runner executes now.", perRunner(\.running)),
      Family("hero_jobs_ended_total", "counter", "Jobs that ended since the node started.", ended),
      Family(
        "hero_workspaces_not_removed", "gauge", "Workspaces and payload files of ended jobs that are still there.",
        Double(await registry.workspacesNotRemoved)),
      Family(
        "hero_queues_on_hold", "gauge",
        "Queues that start no jobs at present, by what they wait for: an error number of the machine, or the store.",
        perReason(starts.held)),
      Family(
        "hero_refused_starts_total", "counter",
        "Starts of jobs that the machine or the store refused; the jobs wait, and no attempt is counted.",
        perReason(starts.refusals)),
      Family(
        "hero_rpc_calls_total", "counter", "Calls by method and error code; code 0 is success.",
        counted.map {
          ([("method", $0.key.method ?? "unknown"), ("code", String($0.key.code ?? 0))], Double($0.value))
        }),
    ]
    families += await others()
    return Array(families.map(Self.text).joined().utf8)
  }

  private static func text(_ family: Family) -> String {
    var text = "# HELP \(family.name) \(family.help)\n# TYPE \(family.name) \(family.type)\n"
    for (labels, value) in family.samples {
      let pairs = labels.map { "\($0.0)=\"\(escaped($0.1))\"" }.joined(separator: ",")
      let number = value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
      text += pairs.isEmpty ? "\(family.name) \(number)\n" : "\(family.name){\(pairs)} \(number)\n"
    }
    return text
  }

  private static func escaped(_ label: String) -> String {
    var bytes: [UInt8] = []
    // Byte by byte: a quote with an accent upon it is one character of Swift's, and ends a label all the same.
    for byte in label.utf8 {
      switch byte {
      case UInt8(ascii: "\\"), UInt8(ascii: "\""): bytes += [UInt8(ascii: "\\"), byte]
      case UInt8(ascii: "\n"): bytes += "\\n".utf8
      default: bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
