// Idle clients must not take the descriptors that jobs need.

import JSONRPC
import Testing

@Suite("Open files", .timeLimit(.minutes(5)))
struct OpenFilesTests {
  @Test("a node with 300 open files and 400 idle clients runs its jobs, and knows how many clients it takes")
  func idleClients() async throws {
    try await NodeProcess.run(openFiles: 300) { node async throws in
      #expect(node.directory.text("log")?.contains("the limit of open files is lower") == true)
      // Connected before the others come: they take all that there is for clients.
      let jobs = (0..<40).map { job("j\($0)", "sleep 0.1; echo hello") }
      for job in jobs { _ = try await node.client.call("jobs.create", ["job": job]) }
      let idle = try (0..<400).map { _ in try HeldSocket(port: Int(node.endpoint.port)) }
      for job in jobs { _ = try await node.client.call("job.start", ["job_id": job["id"]!]) }
      for job in jobs {
        #expect(try await node.client.call("job.result", [job["id"]!]) == ["success": "hello\n"])
      }
      #expect(node.directory.text("log")?.contains("too many open files") == false)
      for socket in idle { socket.close() }
    }
  }
}
