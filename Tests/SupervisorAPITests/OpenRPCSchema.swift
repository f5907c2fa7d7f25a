// Checks values against the schemas of an OpenRPC document, as far as the contract uses JSON Schema: an error in the
// shape of a result shows as a sentence with its path.

import JSONRPC

struct OpenRPCSchema {
  let document: JSON

  /// The names of the methods, in order.
  var methods: [String] { (document["methods"]?.arrayValue ?? []).compactMap { $0["name"]?.stringValue } }

  func method(_ name: String) -> JSON? {
    document["methods"]?.arrayValue?.first { $0["name"] == .string(name) }
  }

  /// What is wrong with a method's result; empty when all is well.
  func problems(ofResult value: JSON, of method: String) -> [String] {
    guard let schema = self.method(method)?["result"]?["schema"] else { return ["\(method) has no schema"] }
    return problems(value, schema, "result")
  }

  private func problems(_ value: JSON, _ schema: JSON, _ path: String) -> [String] {
    if let reference = schema["$ref"]?.stringValue {
      let name = String(reference.dropFirst("#/components/schemas/".count))
      guard let target = document["components"]?["schemas"]?[name] else { return ["\(path): no schema \(reference)"] }
      return problems(value, target, path)
    }
    var found: [String] = []
    if let types = schema["type"], !(types.arrayValue ?? [types]).contains(where: { isOf($0.stringValue, value) }) {
      found.append("\(path): is \(value.kind), expected \(types.text)")
    }
    if let allowed = schema["enum"]?.arrayValue, !allowed.contains(value) {
      found.append("\(path): \(value.text) is not one of \(schema["enum"]!.text)")
    }
    for name in schema["required"]?.arrayValue ?? [] where value[name.stringValue ?? ""] == nil {
      found.append("\(path): \(name.text) is missing")
    }
    for (name, property) in schema["properties"]?.objectValue?.members ?? [] {
      if let member = value[name] { found += problems(member, property, "\(path).\(name)") }
    }
    if let items = schema["items"] {
      for (index, element) in (value.arrayValue ?? []).enumerated() {
        found += problems(element, items, "\(path)[\(index)]")
      }
    }
    for part in schema["allOf"]?.arrayValue ?? [] { found += problems(value, part, path) }
    if let choices = schema["oneOf"]?.arrayValue {
      let matching = choices.filter { problems(value, $0, path).isEmpty }.count
      if matching != 1 { found.append("\(path): matches \(matching) of \(choices.count) choices: \(value.text)") }
    }
    return found
  }

  private func isOf(_ type: String?, _ value: JSON) -> Bool {
    switch type {
    case "null": value.isNull
    case "boolean": value.boolValue != nil
    case "integer": value.intValue != nil
    case "number": value.doubleValue != nil
    case "string": value.stringValue != nil
    case "array": value.arrayValue != nil
    case "object": value.objectValue != nil
    default: false
    }
  }
}
