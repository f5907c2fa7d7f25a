import Foundation
import JobStoreConformance
import Supervisor
import Testing

@testable import hero_supervisor

// Exports that are not as they were written, or not written to their end.

@Suite("An export that is damaged or broken off", .timeLimit(.minutes(5)))
struct StoreDamageTests {
  private func export(_ store: MovedStore) async throws -> [String] {
    let outcome = try await store.run("export")
    #expect(outcome.status == 0)
    return outcome.output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  @Test("is imported up to the damaged line, which is named; a lost or moved line is damage as well")
  func damagedLine() async throws {
    let origin = MovedStore()
    try await origin.fill()
    let lines = try await export(origin)
    let changed = 8
    #expect(lines[changed].contains(#"{"job":"#))
    var damaged = lines
    damaged[changed] = damaged[changed].replacingOccurrences(of: "runner", with: "Runner")
    var lost = lines
    lost.remove(at: changed)
    var moved = lines
    moved.swapAt(changed, changed + 1)
    let jobsBefore = lines[..<changed].count { $0.hasPrefix(#"{"job":"#) }
    for damage in [damaged, lost, moved] {
      let target = MovedStore()
      let outcome = try await target.run("import", "-", input: damage.joined(separator: "\n"))
      #expect(outcome.status == 1)
      #expect(outcome.output == "imported \(jobsBefore) jobs and 3 runners\n", "\(outcome)")
      #expect(outcome.error.contains("line \(changed + 1) is damaged"), "\(outcome)")
      #expect(try await target.contents().jobs.count == jobsBefore)
      // With the whole file the import goes on.
      let again = try await target.run("import", "-", input: lines.joined(separator: "\n"))
      #expect(again.status == 0 && again.output.hasPrefix("imported \(12 - jobsBefore) jobs and 0 runners\n"))
      #expect(try await target.contents() == origin.contents())
    }
  }

  @Test("without its last line it is imported, and not called whole; what follows the last line is refused")
  func ends() async throws {
    let origin = MovedStore()
    try await origin.fill()
    let lines = try await export(origin)
    let cut = lines.dropLast(2).joined(separator: "\n") + "\n"
    let outcome = try await MovedStore().run("import", "-", input: cut)
    #expect(outcome.status == 1 && outcome.output == "imported 12 jobs and 3 runners\n", "\(outcome)")
    #expect(outcome.error.contains("is broken off after line \(lines.count - 2)"))
    let more = try await MovedStore().run("import", "-", input: lines.joined(separator: "\n") + lines[1] + "\n")
    #expect(more.status == 1 && more.error.contains("line \(lines.count) comes after the end"), "\(more)")
    let foreign = try await MovedStore().run("import", "-", input: "{\"id\": 1}\n")
    #expect(foreign.status == 1 && foreign.error.contains("line 1 is not the beginning of an export"))
    let empty = try await MovedStore().run("import", "-", input: "")
    #expect(empty.status == 1 && empty.error.contains("is broken off after line 0"))
  }

  @Test("goes on from its last checkpoint wherever it was cut or damaged, and is then as if nothing had happened")
  func resumed() async throws {
    let origin = MovedStore()
    try await origin.fill(24)
    let file = "\(origin.directory.path)/jobs.jsonl"
    #expect(try await origin.run("export", "--output", file).status == 0)
    let whole = try FileBytes.read(file).bytes
    // What a new export says differently: when it was begun, and so all marks.
    func jobs(_ bytes: [UInt8]) -> [String] {
      String(decoding: bytes, as: UTF8.self).split(separator: "\n").dropFirst().map {
        String($0.prefix(upTo: $0.range(of: ",\"mark\"")!.lowerBound)).replacing(/"sha256":"[0-9a-f]+"/, with: "")
      }
    }
    let header = whole.firstIndex(of: 0x0A)!
    let firstCheckpoint = Data(whole).firstRange(of: Data("{\"checkpoint\"".utf8))!.lowerBound
    let cuts = [0, 5, header, header + 30, firstCheckpoint + 10, whole.count / 2, whole.count - 100, whole.count - 1]
    for cut in cuts {
      try Data(whole[..<cut]).write(to: URL(fileURLWithPath: file))
      let outcome = try await origin.run("export", "--output", file, "--resume")
      #expect(outcome.status == 0 && outcome.output.hasPrefix("exported 24 jobs"), "\(cut): \(outcome)")
      let resumed = try FileBytes.read(file).bytes
      #expect(jobs(resumed) == jobs(whole), "cut at \(cut)")
      let line = whole[firstCheckpoint...].firstIndex(of: 0x0A)!
      if cut > line { #expect(resumed == whole, "cut at \(cut)") }
      #expect(try await MovedStore().run("import", file).status == 0)
    }
    var damaged = whole
    damaged[whole.count - 600] ^= 1
    try Data(damaged).write(to: URL(fileURLWithPath: file))
    #expect(try await origin.run("export", "--output", file, "--resume").status == 0)
    #expect(try FileBytes.read(file).bytes == whole)
    let done = try await origin.run("export", "--output", file, "--resume")
    #expect(done.status == 0 && done.output == "\(file) is whole already, with 24 jobs and 3 runners\n")
    #expect(try FileBytes.read(file).bytes == whole)
  }

  @Test("a file that is none of this store's exports is left alone")
  func foreignFile() async throws {
    let (origin, other) = (MovedStore(), MovedStore())
    for store in [origin, other] { try await store.fill() }
    let file = origin.directory.write("my notes\n", to: "notes")
    for arguments in [["--output", file], ["--output", file, "--resume"]] {
      let tool = try CommandLineTool(["store", "export"] + arguments, environment: origin.environment)
      try tool.start()
      let outcome = await tool.outcome()
      #expect(outcome.status != 0 && outcome.output == "")
      #expect(try FileBytes.read(file).bytes == Array("my notes\n".utf8))
    }
    let export = "\(origin.directory.path)/jobs.jsonl"
    #expect(try await origin.run("export", "--output", export).status == 0)
    let bytes = try FileBytes.read(export).bytes
    let refused = try await other.run("export", "--output", export, "--resume")
    #expect(refused.status == 1 && refused.error.contains("is an export of another store"), "\(refused)")
    #expect(try FileBytes.read(export).bytes == bytes)
    let usage = try await origin.run("export", "--resume")
    #expect(usage.status == 2 && usage.error.contains("--resume needs --output"))
  }
}
