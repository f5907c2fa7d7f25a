import JSONRPC
import Logging
import Supervisor
import Synchronization
import Testing

@testable import hero_supervisor

@Suite("A log line", .timeLimit(.minutes(5)))
struct LogLineTests {
  private let time = Timestamp(milliseconds: 1_795_485_739_123)

  private func line(
    _ message: String, _ fields: Logger.Metadata = [:], _ format: LogConfiguration.Format = .text,
    level: Logger.Level = .info
  ) -> String {
    String(decoding: LogLine(time: time, level: level, message: message, fields: fields).bytes(format), as: UTF8.self)
  }

  @Test("has the time, the level, the message, and the fields in the order of their names")
  func text() {
    #expect(
      line("job finished", ["seconds": "0.4", "job": "j-1", "runner": "default"])
        == "2026-11-24T02:02:19.123Z info  job finished job=j-1 runner=default seconds=0.4\n")
    #expect(line("oops", level: .critical) == "2026-11-24T02:02:19.123Z critical oops\n")
  }

  @Test("quotes what would not be one word")
  func quoting() {
    #expect(
      line("m", ["a": "two words", "b": "", "c": "k=v", "d": "say \"x\""]).hasSuffix(
        #"m a="two words" b="" c="k=v" d="say \"x\"""# + "\n"))
  }

  @Test("stays one line whatever a client sends", arguments: [LogConfiguration.Format.text, .json])
  func forging(format: LogConfiguration.Format) throws {
    let evil = "a\n2026-11-24T02:02:19.123Z info  forged\r\u{1B}[2J\u{2028}\u{85}\u{202E}\u{E0041}\u{200B}\0"
    let line = line(evil, ["job": "\(evil)", "evil\nkey": "x"], format)
    #expect(line.unicodeScalars.filter(\.isUnprintable) == ["\n"])
    #expect(line.hasSuffix("\n"))
    if format == .json { #expect(try JSON.parse(line)["message"] == .string(evil)) }
  }

  @Test("is a JSON object in the other format")
  func json() throws {
    let text = line(
      "say \"hi\"",
      ["n": .stringConvertible(3), "s": "x\ty", "list": ["a", "b"], "map": ["k": "v"], "level": "mine"], .json)
    #expect(
      try JSON.parse(text) == [
        "time": "2026-11-24T02:02:19.123Z", "level": "info", "message": "say \"hi\"", "level_": "mine",
        "list": ["a", "b"],
        "map": ["k": "v"], "n": 3, "s": "x\ty",
      ])
  }

  @Test("is written once, and only from the configured level on")
  func handler() {
    let written = Mutex<[String]>([])
    var logger = Logger(label: "test") { label in
      LineLogHandler(label: label, configuration: LogConfiguration(level: .warning, format: .text)) { line in
        written.withLock { $0.append(String(decoding: line, as: UTF8.self)) }
      }
    }
    logger[metadataKey: "node"] = "n1"
    logger.info("no")
    logger.warning("yes", metadata: ["job": "j-1"])
    let lines = written.withLock { $0 }
    #expect(lines.count == 1 && lines[0].hasSuffix(" warning yes job=j-1 node=n1\n"), "\(lines)")
  }
}
