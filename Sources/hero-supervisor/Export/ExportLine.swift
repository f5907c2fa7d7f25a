import ExactText
import JSONRPC
import Supervisor

// What stands in an export (docs/operations.md, "Backup, and moving between stores"), line by line:
//
//     {"format":"hero-supervisor-export","version":1,…}      the header
//     {"runner":{…}}                                         one a runner
//     {"job":{…}}                                            one a job, in the order of `ExportPart`
//     {"checkpoint":{…}}                                     after each page: from here an export can go on
//     {"end":{…}}                                            the last line
//
// `ExportSeal` adds a mark to each.

enum ExportLine {
  case header(ExportHeader)
  case runner(RegisteredRunner)
  case job(ExportedJob)
  case checkpoint(ExportCheckpoint)
  case end(ExportCheckpoint)
}

/// Why a line is not one of an export; completes "line 7 …".
struct ExportLineError: Error, Equatable {
  let reason: String
}

/// Where an export comes from.
struct ExportHeader: Hashable {
  static let format = "hero-supervisor-export"
  static let version: Int64 = 1

  /// When it was begun.
  let createdAt: Timestamp
  let store: StoreIdentity
}

/// Which store, as far as can be told from within.
struct StoreIdentity: Hashable {
  enum Kind: String, CaseIterable { case sqlite, postgres }
  let kind: Kind
  /// Of an SQLite file, made with it.
  var instance: String?
}

/// What has been written so far.
struct ExportCheckpoint: Hashable {
  var runners = 0
  var jobs = 0
  /// Where to go on; `nil` at the end.
  var position: ExportPosition?
  /// SHA-256 of all lines before.
  var checksum: String
}

extension ExportLine {
  var json: JSON {
    switch self {
    case .header(let header):
      var store: JSONObject = ["kind": .string(header.store.kind.rawValue)]
      store["instance"] = header.store.instance.map { .string($0) }
      return [
        "format": .string(ExportHeader.format), "version": .int(ExportHeader.version),
        "created_at": .string("\(header.createdAt)"), "program": .string(HeroSupervisor.version),
        "store": .object(store),
      ]
    case .runner(let runner): return ["runner": .exported(runner)]
    case .job(let job): return ["job": .exported(job)]
    case .checkpoint(let checkpoint): return ["checkpoint": checkpoint.json]
    case .end(let checkpoint): return ["end": checkpoint.json]
    }
  }

  init(parsing bytes: ArraySlice<UInt8>) throws(ExportLineError) {
    let json: JSON
    do throws(JSONParseError) { json = try JSON.parse(Array(bytes)) } catch {
      throw ExportLineError(reason: "is not valid: \(error.reason)")
    }
    guard let first = json.objectValue?.members.first else { throw ExportLineError(reason: "is not an object") }
    switch ExactText(first.key) {
    case "format": self = .header(try ExportHeader(ExportFields(json, "the header")))
    case "runner": self = .runner(try RegisteredRunner(ExportFields(first.value, "the runner")))
    case "job": self = .job(try ExportedJob(ExportFields(first.value, "the job")))
    case "checkpoint": self = .checkpoint(try ExportCheckpoint(ExportFields(first.value, "the checkpoint")))
    case "end": self = .end(try ExportCheckpoint(ExportFields(first.value, "the end")))
    default: throw ExportLineError(reason: "is of an unknown kind, \(quoted(first.key))")
    }
  }
}

extension ExportHeader {
  init(_ fields: ExportFields) throws(ExportLineError) {
    guard try fields.text("format").isExactly(Self.format) else {
      throw ExportLineError(reason: "is not the beginning of an export")
    }
    let version = try fields.integer("version")
    guard version == Self.version else {
      throw ExportLineError(reason: "has version \(version), and this program reads version \(Self.version)")
    }
    createdAt = try fields.time("created_at")
    let store = try fields.fields("store")
    let kind: StoreIdentity.Kind = try store.word("kind")
    let instance = try store.optional("instance") { fields throws(ExportLineError) in try fields.text("instance") }
    self.store = StoreIdentity(kind: kind, instance: instance)
  }
}

extension ExportCheckpoint {
  fileprivate var json: JSON {
    var object: JSONObject = ["runners": .int(Int64(runners)), "jobs": .int(Int64(jobs))]
    object["position"] = position.map { .string("\($0)") }
    object["sha256"] = .string(checksum)
    return .object(object)
  }

  init(_ fields: ExportFields) throws(ExportLineError) {
    runners = Int(try fields.integer("runners"))
    jobs = Int(try fields.integer("jobs"))
    checksum = try fields.text("sha256")
    position = try fields.optional("position") { fields throws(ExportLineError) in
      guard let position = ExportPosition(try fields.text("position")) else { throw fields.wrong("position") }
      return position
    }
  }
}
