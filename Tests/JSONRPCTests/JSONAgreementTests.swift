// An independent judge: libjansson, which the product does not use, reads the same texts.

import CJansson
import JSONRPC
import Testing

@Suite("JSON parser and libjansson")
struct JSONAgreementTests {
  @Test("both read the same value, or both refuse; the seed of a failure is printed")
  func agreement() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SplitMix64(state: seed)
    let texts = [
      #"{"jsonrpc":"2.0","id":1,"method":"é\u00e9","params":[1.5e3,{"a":[true,null,-7]}]}"#,
      #"[9223372036854775807,-9223372036854775808,1E-7,0.30000000000000004,123456789012345678901.5,4e307]"#,
      "{\"\\ud83d\\ude00\":\"\\ud83d\\ude00😀é\\\\\\\"\\/\",\"a\":{},\"b\":[],\"c\":\"0123456789abcdefghijklmnop\"}\r\n\t ",
    ].map { Array($0.utf8) }
    let marks = Array("\"\\{}[]:,0123456789.eE+-u \ntfn".utf8)
    for _ in 0..<60_000 {
      var bytes = texts.randomElement(using: &generator)!
      for _ in 0..<Int.random(in: 0...3, using: &generator) {
        let position = Int.random(in: bytes.indices, using: &generator)
        // No NUL: libjansson 2.14 overlooks one behind a number.
        let byte =
          Bool.random(using: &generator)
          ? marks.randomElement(using: &generator)! : UInt8.random(in: 1...255, using: &generator)
        switch Int.random(in: 0..<3, using: &generator) {
        case 0: bytes[position] = byte
        case 1: bytes.insert(byte, at: position)
        default: bytes.remove(at: position)
        }
      }
      let ours = try? JSON.parse(bytes)
      let theirs = Self.jansson(bytes)
      #expect(ours == theirs, "\(String(decoding: bytes, as: UTF8.self)) (seed \(seed))")
    }
  }

  private static func jansson(_ bytes: [UInt8]) -> JSON? {
    bytes.withUnsafeBytes { raw in
      var error = json_error_t()
      let flags = Int(JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)
      let text = raw.assumingMemoryBound(to: CChar.self).baseAddress
      guard let root = json_loadb(text, raw.count, flags, &error) else { return nil }
      defer { json_decref(root) }
      return JSON(root)
    }
  }
}

extension JSON {
  fileprivate init(_ value: UnsafeMutablePointer<json_t>) {
    switch value.pointee.type {
    case JSON_OBJECT:
      var object = JSONObject()
      var iterator = json_object_iter(value)
      while let member = iterator {
        object[String(cString: json_object_iter_key(member))] = JSON(json_object_iter_value(member))
        iterator = json_object_iter_next(value, member)
      }
      self = .object(object)
    case JSON_ARRAY: self = .array((0..<json_array_size(value)).map { JSON(json_array_get(value, $0)) })
    case JSON_STRING:
      let bytes = UnsafeRawBufferPointer(start: json_string_value(value), count: json_string_length(value))
      self = .string(String(decoding: bytes, as: UTF8.self))
    case JSON_INTEGER: self = .int(Int64(json_integer_value(value)))
    case JSON_REAL: self = .double(json_real_value(value))
    case JSON_TRUE: self = .bool(true)
    case JSON_FALSE: self = .bool(false)
    default: self = .null
    }
  }
}
