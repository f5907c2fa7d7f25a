import Testing

@testable import Supervisor

@Suite("What is kept of an output")
struct OutputCaptureTests {
  private func capture(_ chunks: [UInt8]..., limit: Int) -> OutputCapture {
    var capture = OutputCapture(limit: limit)
    for chunk in chunks { chunk.withUnsafeBytes { capture.append($0) } }
    return capture
  }

  @Test("text that is cut ends with a whole character, wherever the bound falls")
  func textEnd() {
    let bytes = Array("aé€😀z".utf8)
    // Bytes 1-2, 3-5 and 6-9 are characters.
    for (limit, text) in [(1, "a"), (2, "a"), (3, "aé"), (4, "aé"), (5, "aé"), (6, "aé€"), (9, "aé€"), (10, "aé€😀")] {
      let cut = capture(bytes, limit: limit)
      #expect(cut.text.hasPrefix("\(text)\n[output cut: \(bytes.count - limit) bytes"), "\(limit): \(cut.text)")
      // What is kept is kept byte for byte.
      #expect(cut.bytes == Array(bytes.prefix(limit)))
    }
    #expect(capture(bytes, limit: 11).text == "aé€😀z")
    // Half a character that the job itself ended with is not the node's doing.
    #expect(capture([0x61, 0xE2, 0x82], limit: 3).text == "a\u{FFFD}")
    #expect(capture([0x80, 0x80, 0x80, 0x80], [0x61], limit: 4).text.hasPrefix("\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\n["))
  }

  @Test("the end that explains a failure begins with a whole character")
  func endBeginning() {
    let bytes = Array("aé€😀z".utf8)
    for (maximum, text) in [(1, "z"), (2, "z"), (4, "z"), (5, "😀z"), (6, "😀z"), (8, "€😀z"), (10, "é€😀z")] {
      #expect(capture(bytes, limit: 100).end(maximum: maximum) == "… \(text)", "\(maximum)")
      #expect(capture(bytes, limit: 0).end(maximum: maximum) == "… \(text)", "\(maximum), dropped")
    }
    #expect(capture(bytes, limit: 100).end(maximum: 11) == "aé€😀z")
    // What was kept explains it as well as the little that was dropped.
    #expect(capture(Array("why it fai".utf8), Array("led\n".utf8), limit: 12).end() == "… why it failed")
    #expect(capture(Array(repeating: 0x80, count: 9), limit: 100).end(maximum: 5) == "… \u{FFFD}\u{FFFD}")
  }

  @Test(
    "white space around it goes, and nothing else", arguments: ["\u{1B}[31mred\u{1B}[0m", "\0nul\0", "\u{1}\u{7F}"])
  func space(text: String) {
    #expect(capture(Array(" \t\r\n\u{B}\u{C}\(text)\n \n".utf8), limit: 100).end() == text)
    #expect(capture([0x20, 0x0A], limit: 100).end() == "")
    #expect(capture([], limit: 100).end() == "")
  }
}
