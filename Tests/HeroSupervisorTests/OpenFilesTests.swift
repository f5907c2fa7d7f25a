import HTTPServer
import Testing

@testable import hero_supervisor

@Suite("Open files: shares")
struct OpenFilesTests {
  @Test(
    "clients get what jobs, store and peers leave",
    arguments: [
      // limit, wanted connections, slots, connections
      (65536, 10000, 10, 10000), (11280, 10000, 10, 10000), (4096, 10000, 10, 2816), (1024, 10000, 10, 455),
      (300, 10000, 2, 133), (300, 50, 2, 50), (65536, 10000, 11000, 10000), (20000, 10000, 3000, 9744),
      (16, 10000, 1, 7),
    ])
  func shares(limit: Int, wanted: Int, slots: Int, connections: Int) {
    let files = OpenFiles(limit: limit, connections: wanted, slots: slots)
    #expect(files.connections == connections)
    #expect(files.kept >= min(limit / 2, 256 + 5 * slots))
    var http = HTTPServerConfiguration()
    http.maxConnections = files.connections
    #expect(files.connections + http.maxRejections + files.kept <= limit)
  }
}
