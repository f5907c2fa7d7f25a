import Testing

@testable import hero_supervisor

@Suite("A table", .timeLimit(.minutes(5)))
struct TableTests {
  @Test("aligns its columns and leaves nothing at the ends of lines")
  func alignment() {
    var table = Table([("NAME", .left), ("QUEUED", .right), ("STATE", .left)])
    table.add(["default", "12", "running"])
    table.add(["x", "1234567", ""])
    #expect(
      table.rendered == """
        NAME      QUEUED  STATE
        default       12  running
        x        1234567

        """)
  }

  @Test("keeps a row a row, whatever a name holds")
  func control() {
    var table = Table([("A", .left)])
    table.add(["x\ny\u{1B}[31m"])
    #expect(table.rendered == "A\nx\\ny\\u001b[31m\n")
  }

  @Test("gives wide characters two columns")
  func wide() {
    #expect(Table.width("日本") == 4 && Table.width("e\u{301}") == 1 && Table.width("ab") == 2)
  }

  @Test("tells elapsed time in a fitting unit")
  func elapsed() {
    #expect(ProgressLine.elapsed(.milliseconds(4250)) == "4.2 s")
    #expect(ProgressLine.elapsed(.seconds(187)) == "3 min 07 s")
    #expect(ProgressLine.elapsed(.seconds(7500)) == "2 h 05 min")
  }

  @Test("of base 64 is read back to bytes")
  func base64() {
    #expect(Base64.decode("AP/+aGk=") == [0, 255, 254, 104, 105])
    #expect(Base64.decode("") == [])
    #expect(Base64.decode("a b") == nil)
  }
}
