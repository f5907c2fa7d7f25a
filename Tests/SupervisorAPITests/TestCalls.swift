// The words in which tests speak to a node.

import JSONRPC
import Supervisor
import SupervisorClient
import Testing

@testable import SQLiteJobStore

extension TestNode {
  /// A method's result.
  func call(_ method: String, _ params: JSON = .null) async throws -> JSON {
    try await client.call(method, params, timeout: .seconds(30))
  }

  /// The error that a call ends with, as section 5.1 of JSON-RPC 2.0 has it; its data is an object.
  func error(_ method: String, _ params: JSON = .null) async throws -> RPCFailure {
    try await failure { try await call(method, params) }
  }

  /// The job's state by `job.status`.
  func status(_ id: String) async throws -> String {
    try #require(try await call("job.status", [.string(id)])["status"]?.stringValue)
  }

  /// Waits until the job is there and has this state.
  func expect(_ id: String, becomes status: String) async throws {
    var last = ""
    let came = await eventually {
      last = (try? await self.status(id)) ?? "unknown"
      return last == status
    }
    #expect(came, "\(id) is \(last), not \(status)")
  }

  /// Waits until the runner has this state.
  func expect(runner: String, becomes state: String) async throws {
    var last: JSON? = nil
    let came = try await eventually {
      last = try await self.call("get_runner_status", [.string(runner)])["state"]
      return last == .string(state)
    }
    #expect(came, "\(runner) is \(last?.text ?? "unknown"), not \(state)")
  }

  func run(_ job: JSON) async throws -> JSON { try await call("job.run", ["secret": .string(Key.user), "job": job]) }

  func create(_ job: JSON) async throws {
    let id = try await call("jobs.create", ["secret": .string(Key.user), "job": job])
    #expect(id == job["id"])
  }

  /// Creates and starts.
  func start(_ job: JSON) async throws {
    try await create(job)
    let id = try #require(job["id"]?.stringValue)
    #expect(try await call("job.start", secret(job: id)) == .null)
  }

  /// The parameters of `job.start`, `job.stop` and `job.delete`.
  func secret(job id: String) -> JSON { ["secret": .string(Key.user), "job_id": .string(id)] }

  func register(_ name: String, queue: String) async throws {
    let params: JSON = ["secret": .string(Key.register), "name": .string(name), "queue": .string(queue)]
    #expect(try await call("register_runner", params) == .null)
  }
}

struct RPCFailure {
  let code: Int
  let message: String
  let data: JSONObject
}

/// The error of the node that a call ends with.
func failure(_ call: () async throws -> JSON) async throws -> RPCFailure {
  do {
    let result = try await call()
    Issue.record("the call succeeded: \(result.text)")
    return RPCFailure(code: 0, message: "", data: [:])
  } catch ClientError.rpc(let code, let message, let data) {
    return RPCFailure(code: code, message: message, data: try #require(data?.objectValue, "data is no object"))
  }
}

/// A job as the contract has it, with all ten fields.
func job(
  _ id: String, _ payload: String = "", runner: String = "r", executor: String = "shell", timeout: JSON = 0,
  environment: JSON = [:]
) -> JSON {
  [
    "id": .string(id), "caller_id": "caller", "context_id": "context", "payload": .string(payload),
    "runner": .string(runner), "executor": .string(executor), "timeout": timeout, "env_vars": environment,
    "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
  ]
}

extension JSON {
  /// A copy in which a member of an object, named by its path, has another value or (`nil`) is missing.
  func with(_ path: String..., value: JSON?) -> JSON { with(path[...], value) }

  private func with(_ path: ArraySlice<String>, _ value: JSON?) -> JSON {
    guard case .object(var object) = self, let key = path.first else { return self }
    object[key] = path.count == 1 ? value : object[key]?.with(path.dropFirst(), value)
    return .object(object)
  }
}

extension TestNode {
  /// How many calls wait for the end of this job.
  func waiters(_ id: String) async -> Int { await store.waiterCount(of: JobID(trusted: id)) }
}

extension SQLiteJobStore {
  fileprivate func waiterCount(of id: JobID) -> Int { finishWaiters[id]?.count ?? 0 }
}
