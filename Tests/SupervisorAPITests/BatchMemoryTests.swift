// A short request must not make the node hold gigabytes of answers.

import JSONRPC
import Testing

@Suite("Memory of batches", .timeLimit(.minutes(5)))
struct BatchMemoryTests {
  @Test("many calls in a batch for a large result do not hold as many large answers")
  func results() async throws {
    try await TestNode.run { node async throws in
      let text = String(repeating: "x", count: 1 << 20)
      #expect(try await node.run(job("big", text, executor: "echo")) == ["success": .string(text)])
      let call = #"{"jsonrpc":"2.0","id":1,"method":"job.result","params":["big"]}"#
      let before = peakKilobytes()
      let batch = "[\(Array(repeating: call, count: 200).joined(separator: ","))]"
      let answers = try #require(try await node.post(batch).json().arrayValue)
      #expect(answers.count == 200 && answers.count { $0["result"] != nil } == 9)
      #expect(answers.count { $0["error"]?["code"] == -32008 } == 191)
      #expect(peakKilobytes() - before < 300_000)
    }
  }
}
