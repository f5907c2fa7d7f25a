// Objects keep their order, whether they are searched or indexed.

import JSONRPC
import Testing

@Suite("JSON object", .timeLimit(.minutes(5)))
struct JSONObjectTests {
  @Test(
    "members are found, replaced, appended and removed, in small objects and large ones", arguments: [3, 16, 17, 40])
  func changes(count: Int) {
    var object = JSONObject()
    for number in 0..<count { object["k\(number)"] = .int(Int64(number)) }
    #expect(object.keys == (0..<count).map { "k\($0)" })
    object["k1"] = "changed"
    object["k0"] = nil
    object["no such key"] = nil
    object["last"] = true
    #expect(object.keys == (1..<count).map { "k\($0)" } + ["last"])
    #expect(object["k0"] == nil)
    #expect(object["k1"] == "changed")
    #expect(object["k\(count - 1)"] == .int(Int64(count - 1)))
    #expect(object["last"] == true)
    #expect(object.count == count)
  }

  @Test("objects are equal and hash alike whatever the order of their members")
  func equality() {
    let a: JSON = ["x": 1, "y": [2]]
    let b: JSON = ["y": [2], "x": 1]
    #expect(a == b)
    #expect(Set([a, b, ["x": 1], ["x": 1, "y": [3]]]).count == 3)
    #expect(a != ["x": 1, "y": [2], "z": nil])
    #expect((1 as JSON) != .double(1))
  }

  @Test("accessors answer the value, or nil for another kind")
  func accessors() {
    let value: JSON = ["s": "text", "i": 7, "d": 1.5, "b": true, "a": [1], "n": nil]
    #expect(value["s"]?.stringValue == "text")
    #expect(value["i"]?.intValue == 7)
    #expect(value["i"]?.doubleValue == 7)
    #expect(value["d"]?.doubleValue == 1.5)
    #expect(value["d"]?.intValue == nil)
    #expect(value["b"]?.boolValue == true)
    #expect(value["a"]?[0] == 1)
    #expect(value["a"]?[1] == nil)
    #expect(value["n"]?.isNull == true)
    #expect(value["nothing"] == nil)
    #expect(value["s"]?["inner"] == nil)
  }
}
