// The contract: openrpc.json holds the seed's methods and schemas member for member, is what the node serves, and what
// the node answers has the shapes of the seed, in whichever way the parameters are written.

import Foundation
import JSONRPC
import SupervisorAPI
import Testing

@Suite("The contract", .timeLimit(.minutes(5)))
struct ContractTests {
  private let seed: OpenRPCSchema

  init() throws {
    let path = try #require(Bundle.module.path(forResource: "openrpc.seed", ofType: "json", inDirectory: "Fixtures"))
    let text = try #require(FileManager.default.contents(atPath: path))
    seed = OpenRPCSchema(document: try JSON.parse([UInt8](text)))
  }

  @Test("has the seed's 19 methods and schemas unchanged, in their order, before ours")
  func seedIsUnchanged() throws {
    let ours = OpenRPCSchema(document: SupervisorAPI.openRPCDocument)
    #expect(seed.methods.count == 19)
    #expect(Array(ours.methods.prefix(19)) == seed.methods)
    for name in seed.methods {
      let method = try #require(ours.method(name))
      #expect(method == seed.method(name), "\(name) differs from the seed")
    }
    for (name, schema) in seed.document["components"]?["schemas"]?.objectValue?.members ?? [] {
      #expect(ours.document["components"]?["schemas"]?[name] == schema, "\(name) differs from the seed")
    }
    #expect(ours.document["info"] == seed.document["info"])
  }

  @Test("is what rpc.discover and /openrpc.json answer, and names every method of the node")
  func discovery() async throws {
    try await TestNode.run { node async throws in
      let document = SupervisorAPI.openRPCDocument
      #expect(try await node.call("rpc.discover") == document)
      let page = try await node.exchange("GET", "/openrpc.json")
      #expect(page.status == 200)
      #expect(page.headers["content-type"] == "application/json")
      #expect(try page.json() == document)
      for name in OpenRPCSchema(document: document).methods {
        // Without parameters most calls are wrong; none is unknown.
        let answer = try await node.post(#"{"jsonrpc":"2.0","method":"\#(name)","id":1}"#).json()
        #expect(answer["error"]?["code"] != -32601, "\(name) is not found")
      }
    }
  }

  /// How a test writes parameters.
  enum Form: String, CaseIterable {
    case byPosition, byName, fieldsDirectly
  }

  @Test("every method answers in the seed's shape, with parameters in every form", arguments: Form.allCases)
  func shapes(form: Form) async throws {
    var options = TestNode.Options()
    options.runners = []
    try await TestNode.run(options) { node async throws in
      var called: Set<String> = []
      /// Calls with named parameters, written in this test's form.
      func call(_ method: String, _ named: JSON = [:]) async throws -> JSON {
        called.insert(method)
        let names = (seed.method(method)?["params"]?.arrayValue ?? []).compactMap { $0["name"]?.stringValue }
        let params: JSON =
          switch (form, names) {
          case (.byPosition, ["params"]): [named]
          case (.byPosition, _): .array(names.compactMap { named[$0] })
          case (.byName, ["params"]): ["params": named]
          case (.byName, _), (.fieldsDirectly, _): named
          }
        let result = try await node.call(method, params)
        #expect(seed.problems(ofResult: result, of: method) == [])
        return result
      }
      let key: JSON = .string(Key.admin)
      let echo = job("echo", "hello", runner: "one", executor: "echo")
      let other = job("other", "sleep 60", runner: "one")

      for name in ["one", "two"] {
        #expect(try await call("register_runner", ["secret": key, "name": .string(name), "queue": "q"]) == .null)
      }
      #expect(try await call("list_runners") == ["one", "two"])
      #expect(try await call("job.run", ["secret": key, "job": echo]) == ["success": "hello"])
      #expect(try await call("job.result", ["job_id": "echo"]) == ["success": "hello"])
      #expect(try await call("jobs.create", ["secret": key, "job": other]) == "other")
      #expect(try await call("job.status", ["job_id": "other"])["status"] == "created")
      #expect(try await call("job.start", ["secret": key, "job_id": "other"]) == .null)
      try await node.expect("other", becomes: "running")
      #expect(try await call("job.status", ["job_id": "other"])["started_at"]?.stringValue != nil)
      #expect(try await call("job.stop", ["secret": key, "job_id": "other"]) == .null)
      #expect(try await call("job.result", ["job_id": "other"]) == ["error": "stopped"])
      #expect(try await call("jobs.list").arrayValue?.count == 2)
      #expect(try await call("job.delete", ["secret": key, "job_id": "other"]) == .null)
      #expect(try await call("jobs.list").arrayValue?.count == 1)

      #expect(try await call("stop_runner", ["actor_id": "one", "force": true]) == .null)
      #expect(try await call("get_runner_status", ["actor_id": "one"])["state"] == "stopped")
      #expect(try await call("get_all_status") == [["one", "stopped"], ["two", "running"]])
      #expect(try await call("start_runner", ["actor_id": "one"]) == .null)
      #expect(try await call("get_all_runner_status").arrayValue?.map { $0["state"] } == ["running", "running"])
      #expect(try await call("stop_all", ["force": false]) == [["one", "success"], ["two", "success"]])
      #expect(try await call("get_all_status") == [["one", "stopped"], ["two", "stopped"]])
      #expect(try await call("start_all") == [["one", "success"], ["two", "success"]])
      #expect(try await call("remove_runner", ["actor_id": "two"]) == .null)
      #expect(try await call("list_runners") == ["one"])
      #expect(try await call("rpc.discover")["openrpc"] == "1.3.2")
      #expect(called == Set(seed.methods))
    }
  }
}
