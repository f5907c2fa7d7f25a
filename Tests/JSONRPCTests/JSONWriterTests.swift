// What the writer writes, and that the parser reads it back.

import JSONRPC
import Testing

@Suite("JSON writer", .timeLimit(.minutes(5)))
struct JSONWriterTests {
  @Test(
    "a value is written in its shortest form",
    arguments: [
      (nil, "null"), (true, "true"), (false, "false"), (0, "0"), (9, "9"), (10, "10"), (-1, "-1"),
      (.int(.min), "-9223372036854775808"), (.int(.max), "9223372036854775807"), (.double(1), "1.0"),
      (.double(-0.0), "-0.0"), (.double(0.1), "0.1"), (.double(1e21), "1e+21"),
      (.double(.leastNonzeroMagnitude), "5e-324"),
      ("", "\"\""),
      ("é😀/", "\"é😀/\""), ("\"\\\n\r\t\u{8}\u{0}\u{1f}\u{7f}", "\"\\\"\\\\\\n\\r\\t\\u0008\\u0000\\u001f\u{7f}\""),
      ("12345678\"", "\"12345678\\\"\""), ([], "[]"), ([:], "{}"),
      (["b": 1, "a": [1, [], [:]]], #"{"b":1,"a":[1,[],{}]}"#),
    ] as [(JSON, String)])
  func writes(value: JSON, text: String) {
    #expect(value.text == text)
    #expect(value.serialized() == Array(text.utf8))
  }

  @Test("writing appends to what is there")
  func appends() {
    var bytes = Array("id: ".utf8)
    (["a"] as JSON).write(into: &bytes)
    #expect(String(decoding: bytes, as: UTF8.self) == #"id: ["a"]"#)
  }

  @Test("the form for people is indented and ends with a line break")
  func pretty() {
    let value: JSON = ["a": [1, "two"], "b": [:], "c": [], "d": ["e": nil]]
    #expect(
      value.pretty() == """
        {
          "a": [
            1,
            "two"
          ],
          "b": {},
          "c": [],
          "d": {
            "e": null
          }
        }

        """)
  }

  @Test("any value, written and read, is the same value; the seed of a failure is printed")
  func roundTrips() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SplitMix64(state: seed)
    for _ in 0..<5000 {
      let value = JSON.random(depth: 5, using: &generator)
      #expect(try JSON.parse(value.serialized()) == value, "seed \(seed)")
      #expect(try JSON.parse(value.pretty()) == value, "seed \(seed)")
    }
  }

  @Test("any double, written and read, is the same double; the seed of a failure is printed")
  func doublesRoundTrip() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SplitMix64(state: seed)
    for _ in 0..<20_000 {
      let double = Double(bitPattern: generator.next())
      guard double.isFinite else { continue }
      let read = try JSON.parse(JSON.double(double).text).doubleValue
      #expect(read?.bitPattern == double.bitPattern, "\(double), seed \(seed)")
    }
  }

  @Test("random bytes are refused or read, and never crash; the seed of a failure is printed")
  func noise() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SplitMix64(state: seed)
    let valid = Array(#"{"jsonrpc":"2.0","id":1,"method":"é\u00e9","params":[1.5e3,{"a":[true,null,-7]}]}"#.utf8)
    for _ in 0..<20_000 {
      var bytes = valid
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      if let value = try? JSON.parse(bytes) {
        #expect(try JSON.parse(value.serialized()) == value, "seed \(seed)")
      }
    }
  }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix64: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
}

extension JSON {
  static func random(depth: Int, using generator: inout some RandomNumberGenerator) -> JSON {
    switch Int.random(in: 0..<(depth > 0 ? 8 : 6), using: &generator) {
    case 0: return .null
    case 1: return .bool(.random(using: &generator))
    case 2: return .int(Int64(truncatingIfNeeded: generator.next() >> UInt64.random(in: 0...63, using: &generator)))
    case 3:
      return .double(Double(Int.random(in: -1_000_000...1_000_000, using: &generator)) / 1024)
    case 4, 5: return .string(randomString(using: &generator))
    case 6:
      return .array(
        (0..<Int.random(in: 0...5, using: &generator)).map { _ in random(depth: depth - 1, using: &generator) })
    default:
      var object = JSONObject()
      for _ in 0..<Int.random(in: 0...20, using: &generator) {
        // Keys hold no NUL: libjansson cannot carry it.
        let key = randomString(using: &generator).replacing("\0", with: "0")
        object[key] = random(depth: depth - 2, using: &generator)
      }
      return .object(object)
    }
  }

  private static func randomString(using generator: inout some RandomNumberGenerator) -> String {
    var string = String.UnicodeScalarView()
    for _ in 0..<Int.random(in: 0...24, using: &generator) {
      let bits = [0x7F, 0x7F, 0x7F, 0x1F, 0x7FF, 0x1F_FFFF].randomElement(using: &generator)!
      if let scalar = Unicode.Scalar(UInt32.random(in: 0...UInt32(bits), using: &generator)) { string.append(scalar) }
    }
    return String(string)
  }
}
