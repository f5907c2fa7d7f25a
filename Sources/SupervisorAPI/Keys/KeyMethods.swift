import Cluster
import ExactText
import Gossip
import JSONRPC
import Supervisor

// Keys at run time: `key.create`, `key.list`, `key.revoke`. They are records, so every node knows them within a second.

extension SupervisorAPI {
  /// Keys of the cluster that are not revoked, at a time. More people and programs than use one cluster.
  static let maximumKeys = 4096
  /// With those that were revoked, and are kept because their keys would never expire.
  static let maximumKeyRecords = 16_384

  var keyMethods: [String: Method<APICall>] {
    [
      "key.create": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        _ = try authenticator.require([.admin], secret: try params.optionalString("secret"), call)
        try params.refuseOthers(than: ["secret", "name", "scopes", "runners", "expires_at"])
        let name: KeyName = try params.name("name")
        let secret = Authenticator.makeSecret()
        let key = try params.createdKey(hash: CreatedKey.hash(of: secret))
        try await create(name, key)
        var answer: JSONObject = ["name": .string(name.rawValue), "key": .string(secret)]
        key.describe(in: &answer)
        return .object(answer)
      },
      "key.list": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        _ = try authenticator.require([.admin], secret: try params.optionalString("secret"), call)
        try params.refuseOthers(than: ["secret"])
        let now = Timestamp.now
        return .array(await keys?.records.compactMap { JSON.key($0, at: now) } ?? [])
      },
      "key.revoke": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        _ = try authenticator.require([.admin], secret: try params.optionalString("secret"), call)
        try params.refuseOthers(than: ["secret", "name"])
        try await revoke(try params.name("name"))
        return .null
      },
    ]
  }

  private func create(_ name: KeyName, _ key: CreatedKey) async throws(JSONRPCError) {
    // Before it has joined a node does not know which names there are.
    if let reason = await registry.unreadiness { throw .unavailable(reason, retryAfterMilliseconds: 500) }
    try await change(name) { (known, all) throws(JSONRPCError) in
      let now = Timestamp.now
      if let known, !known.isRemoved, CreatedKey(body: known.body)?.hasExpired(at: now) != true {
        throw .conflict("Key \"\(name)\" exists already", data: ["key": .string(name.rawValue)])
      }
      // The name has one record: a key of this name that was revoked must not come back when the new one is forgotten.
      if let known, known.isRemoved, let former = CreatedKey(body: known.body), !key.isKept(asLongAs: former) {
        throw .conflict(
          "A key \"\(name)\" was revoked that must be remembered longer than this one; use another name",
          data: ["key": .string(name.rawValue)])
      }
      let records = all.all(of: CreatedKey.kind)
      let valid = records.count { !$0.isRemoved && CreatedKey(body: $0.body)?.hasExpired(at: now) != true }
      guard valid < Self.maximumKeys else {
        throw .wrongState(
          "There are \(valid) keys already, which is the most; revoke some",
          data: ["limit": .int(Int64(Self.maximumKeys))])
      }
      guard known != nil || records.count < Self.maximumKeyRecords else {
        throw .wrongState(
          "\(records.count) names of keys are kept, which is the most; give keys an expires_at, so that "
            + "their names can be forgotten",
          data: ["limit": .int(Int64(Self.maximumKeyRecords))])
      }
      return .state(body: key.body)
    }
  }

  private func revoke(_ name: KeyName) async throws(JSONRPCError) {
    try await change(name) { (known, _) throws(JSONRPCError) in
      guard let known else { throw .notFound("key", name.rawValue) }
      return known.isRemoved ? nil : .remove(body: known.body)
    }
  }

  private func change(
    _ name: KeyName, _ decide: @escaping @Sendable (Record?, RecordMap) throws(JSONRPCError) -> RecordKeeper.Change?
  ) async throws(JSONRPCError) {
    guard let keys else { throw .wrongState("This node keeps no keys", data: [:]) }
    let subject = Record.Subject(kind: CreatedKey.kind, name: ExactText(name.rawValue))
    let result: Result<Record?, JSONRPCError>
    do throws(RecordsUnwritable) { result = try await keys.change(subject, decide) } catch {
      throw .unavailable(
        "the change cannot be written to the disk of this node: \(error.reason)", retryAfterMilliseconds: 1000)
    }
    _ = try result.get()
  }
}

extension CreatedKey {
  func hasExpired(at now: Timestamp) -> Bool { expiresAt.map { $0 <= now } ?? false }

  /// Its scopes, its limit and its dates, as answers have them.
  fileprivate func describe(in object: inout JSONObject) {
    object["scopes"] = .array(Scope.allCases.filter(scopes.contains).map { .string($0.rawValue) })
    object["runners"] = runners.map { .array($0.map { .string($0.rawValue) }) } ?? .null
    object["created_at"] = JSON.time(createdAt)
    object["expires_at"] = JSON.time(expiresAt)
  }
}

extension JSON {
  /// - Returns: `nil` for a record of another kind, or one that this version does not understand.
  fileprivate static func key(_ record: Record, at now: Timestamp) -> JSON? {
    guard record.kind == CreatedKey.kind, let key = CreatedKey(body: record.body) else { return nil }
    var object: JSONObject = ["name": .string(record.name.rawValue)]
    object["state"] = record.isRemoved ? "revoked" : key.hasExpired(at: now) ? "expired" : "valid"
    key.describe(in: &object)
    object["node"] = .string(record.author.rawValue)
    return .object(object)
  }
}

extension Params {
  fileprivate func createdKey(hash: [UInt8]) throws(JSONRPCError) -> CreatedKey {
    let scopes = try scopes()
    let runners = try runnerNames()
    if runners != nil, scopes.contains(.admin) {
      throw .invalidParams(field: field("runners"), expected: "no runners, since the scope admin is for all of them")
    }
    let now = Timestamp.now
    let end = try time("expires_at")
    if let end, end <= now {
      throw .invalidParams(field: field("expires_at"), expected: "a time that is still to come")
    }
    return CreatedKey(hash: hash, scopes: scopes, runners: runners, createdAt: now, expiresAt: end)
  }

  private func scopes() throws(JSONRPCError) -> Set<Scope> {
    let expected = "a list of \(Scope.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")), at least one"
    var scopes: Set<Scope> = []
    for word in try words("scopes", expected) ?? [] {
      guard let scope = Scope(exactly: word) else {
        throw .invalidParams(field: field("scopes"), expected: expected)
      }
      scopes.insert(scope)
    }
    guard !scopes.isEmpty else { throw .invalidParams(field: field("scopes"), expected: expected) }
    return scopes
  }

  private func runnerNames() throws(JSONRPCError) -> [RunnerName]? {
    let expected = "a list of names of runners, at least one, or null for all"
    guard let words = try words("runners", expected) else { return nil }
    var names: Set<RunnerName> = []
    for word in words {
      do { names.insert(try RunnerName(word)) } catch {
        throw .invalidParams(field: field("runners"), expected: "names of runners; one \(error.reason)")
      }
    }
    guard !names.isEmpty else { throw .invalidParams(field: field("runners"), expected: expected) }
    let bytes = names.reduce(0) { $0 + 1 + $1.rawValue.utf8.count }
    guard names.count <= 255, bytes <= CreatedKey.maximumRunnerBytes else {
      throw .invalidParams(
        field: field("runners"),
        expected: "at most 255 names, and \(CreatedKey.maximumRunnerBytes) bytes of them with one more for each")
    }
    return names.sorted()
  }

  private func words(_ name: String, _ expected: String) throws(JSONRPCError) -> [String]? {
    guard let value = optional(name) else { return nil }
    guard case .array(let values) = value else {
      throw .invalidParams(field: field(name), expected: expected, got: value)
    }
    var words: [String] = []
    for value in values {
      guard case .string(let word) = value else {
        throw .invalidParams(field: field(name), expected: expected, got: value)
      }
      words.append(word)
    }
    return words
  }
}
