import Cluster
import Testing

@Suite(.timeLimit(.minutes(5))) struct WireTests {
  @Test func `values come back as they were`() throws {
    var writer = WireWriter()
    writer.add("é\u{0}x")
    writer.add([1, -2, Int.max])
    writer.add(Optional<Bool>.none)
    writer.add(Optional(true))
    writer.add(Double.infinity)
    writer.add(WireBytes([0, 255]))
    var reader = WireReader(writer.bytes)
    #expect(try reader.value(String.self) == "é\u{0}x")
  }
}
