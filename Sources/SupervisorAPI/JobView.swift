import ExactText
import JSONRPC
import Supervisor

// What a list shows of each job. Payload, variables and result may be megabytes, and who looks through a list wants none
// of them: it has them when it asks.

/// A field of a job in a list, by its name in JSON.
enum JobField: String, CaseIterable {
  case id
  case callerID = "caller_id"
  case contextID = "context_id"
  case payload, runner, executor, timeout
  case environment = "env_vars"
  case createdAt = "created_at"
  case updatedAt = "updated_at"
  case status, attempt
  case startedAt = "started_at"
  case completedAt = "completed_at"
  case result

  /// The contract's `Job`, in its order.
  static let contract: [JobField] = [
    .id, .callerID, .contextID, .payload, .runner, .executor, .timeout, .environment, .createdAt, .updatedAt,
  ]

  /// What of a record has to be read for it.
  fileprivate var part: JobParts {
    switch self {
    case .payload: .payload
    case .environment: .environment
    case .result: .result
    default: []
    }
  }

  /// Whether it has no bound of its own; all other fields of a job together are below 2 KiB.
  fileprivate var mayBeLarge: Bool { !part.isEmpty || self == .callerID || self == .contextID }
}

/// The fields that a list shows.
struct JobView: Sendable {
  fileprivate let fields: [JobField]

  /// All but payload, variables and result.
  static let summary = JobView(fields: JobField.allCases.filter(\.part.isEmpty))
  static let full = JobView(fields: JobField.allCases)

  /// What a store has to read.
  var parts: JobParts { fields.reduce(into: []) { $0.formUnion($1.part) } }

  /// A large field is left out of a job that is too big for an answer, unless it is smaller than this.
  private static let smallBytes = 256

  /// Appends a job.
  func write(_ record: JobRecord, into bytes: inout [UInt8]) { write(record, into: &bytes) { _, _ in false } }

  /// Appends a job without its large fields, and with their names as `omitted`.
  func writeShortened(_ record: JobRecord, into bytes: inout [UInt8]) {
    var omitted: [JSON] = []
    write(record, into: &bytes) { field, size in
      guard field.mayBeLarge, size > Self.smallBytes else { return false }
      omitted.append(.string(field.rawValue))
      return true
    }
    bytes.removeLast()
    bytes.append(contentsOf: #","omitted":"#.utf8)
    JSON.array(omitted).write(into: &bytes)
    bytes.append(UInt8(ascii: "}"))
  }

  /// - Parameter omits: whether to leave out a field that takes so many bytes.
  private func write(_ record: JobRecord, into bytes: inout [UInt8], omits: (JobField, Int) -> Bool) {
    var separator = UInt8(ascii: "{")
    for field in fields {
      guard let value = JSON.job(record, field) else { continue }
      let start = bytes.count
      bytes.append(separator)
      bytes.append(UInt8(ascii: "\""))
      bytes.append(contentsOf: field.rawValue.utf8)
      bytes.append(contentsOf: #"":"#.utf8)
      value.write(into: &bytes)
      if omits(field, bytes.count - start) {
        bytes.removeSubrange(start...)
      } else {
        separator = UInt8(ascii: ",")
      }
    }
    bytes.append(UInt8(ascii: "}"))
  }
}

extension Params {
  /// The parameters `view` and `fields`, of which one may be given.
  func jobView() throws(JSONRPCError) -> JobView {
    let names = JobField.allCases.map(\.rawValue).joined(separator: ", ")
    guard let fields = optional("fields") else {
      switch try optionalString("view").map({ ExactText($0) }) {
      case nil, "summary"?: return .summary
      case "full"?: return .full
      default: throw .invalidParams(field: field("view"), expected: "\"summary\" or \"full\"")
      }
    }
    guard optional("view") == nil else {
      throw .invalidParams(field: field("fields"), expected: "no fields beside view")
    }
    guard case .array(let elements) = fields else {
      throw .invalidParams(field: field("fields"), expected: "an array of \(names)", got: fields)
    }
    // Whatever is asked for, a job has its name.
    var wanted: Set<JobField> = [.id]
    for (index, element) in elements.enumerated() {
      guard let name = element.stringValue, let known = JobField(exactly: name) else {
        throw .invalidParams(field: field("fields[\(index)]"), expected: "one of \(names)")
      }
      wanted.insert(known)
    }
    return JobView(fields: JobField.allCases.filter(wanted.contains))
  }
}
