// Text is equal, ordered and hashed by its bytes, however it looks.

import ExactText
import Testing

@Suite("Exact text", .timeLimit(.minutes(1)))
struct ExactTextTests {
  private struct Label: ComparedExactly {
    let rawValue: String
  }
  private enum Word: String, CaseIterable {
    case one
    case two = "\u{e9}"
  }

  private let samples = [
    "", "a", "ab", "b", "a\u{0}", "a\u{0}b", "\u{e9}", "e\u{301}", "K", "\u{212A}", "日本", "\u{1F600}", "\u{FFFF}",
    "a string that is too long to be kept inside of its own sixteen bytes",
    "a string that is too long to be kept inside of its own sixteen bytes!",
  ]

  @Test("two texts are equal exactly when their bytes are, and their order is that of the bytes")
  func comparing() {
    for a in samples {
      for b in samples {
        let (first, second) = (Array(a.utf8), Array(b.utf8))
        #expect(a.isExactly(b) == (first == second))
        #expect((ExactText(a) == ExactText(b)) == (first == second))
        #expect((ExactText(a) != ExactText(b)) == (first != second))
        #expect((Label(rawValue: a) == Label(rawValue: b)) == (first == second))
        #expect((Label(rawValue: a) != Label(rawValue: b)) == (first != second))
        #expect((ExactText(a) < ExactText(b)) == first.lexicographicallyPrecedes(second))
        #expect((ExactText(a) > ExactText(b)) == second.lexicographicallyPrecedes(first))
        #expect([a].containsExactly(b) == (first == second))
      }
    }
  }

  @Test("keys of a dictionary are told apart by their bytes")
  func hashing() {
    let places = Dictionary(uniqueKeysWithValues: samples.enumerated().map { (ExactText($1), $0) })
    for (place, text) in samples.enumerated() { #expect(places[ExactText(text)] == place) }
    #expect(Set(samples.map { Label(rawValue: $0) }).count == samples.count)
  }

  @Test("a word of an enumeration is found by its bytes")
  func words() {
    #expect(Word(exactly: "one") == .one)
    #expect(Word(exactly: "\u{e9}") == .two)
    #expect(Word(exactly: "e\u{301}") == nil)
    #expect(Word(exactly: "") == nil)
  }

  @Test("a text is cut between scalars")
  func shortening() {
    #expect("abc".shortened(toBytes: 3) == "abc")
    #expect("abcd".shortened(toBytes: 3) == "abc…")
    #expect("aéé".shortened(toBytes: 4) == "aé…")
    #expect("a\u{1F600}".shortened(toBytes: 4) == "a…")
    #expect("\u{301}\u{301}".shortened(toBytes: 1) == "…")
  }

  @Test("a megabyte of combining marks is compared and hashed in no time")
  func cost() {
    let marks = ["\u{345}", "\u{301}", "\u{316}", "\u{327}"].map { String(repeating: $0, count: 1 << 17) }.joined()
    let time = ContinuousClock().measure {
      #expect(!("a" + marks).isExactly("b" + marks))
      #expect(("a" + marks).precedesExactly("b" + marks))
      #expect(Set([ExactText("a" + marks), ExactText("a" + marks + marks), ExactText("a" + marks)]).count == 2)
      #expect(marks.shortened(toBytes: 31).utf8.count == 30 + 3)
    }
    // Swift's own would take an hour.
    #expect(time < .seconds(10))
  }
}
