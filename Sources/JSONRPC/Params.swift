import ExactText

/// The parameters of one call: named values, whatever way the client chose to write them. Its accessors throw errors
/// that name the field by its path.
public struct Params: Sendable {
  /// Where the values stand in the request, for error messages; empty for parameters themselves.
  public let path: String
  public let object: JSONObject

  public init(_ object: JSONObject, path: String = "") {
    self.object = object
    self.path = path
  }

  public func field(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }

  /// Throws when there is a field of another name.
  public func refuseOthers(than names: [String]) throws(JSONRPCError) {
    for key in object.keys where !names.containsExactly(key) {
      throw .invalidParams(field: field(key), expected: "one of \(names.joined(separator: ", "))")
    }
  }

  /// A value that may be missing or null.
  public func optional(_ name: String) -> JSON? {
    guard let value = object[name], !value.isNull else { return nil }
    return value
  }

  public func required(_ name: String, _ expected: String) throws(JSONRPCError) -> JSON {
    guard let value = object[name] else {
      throw .invalidParams(field: field(name), expected: "\(expected), it is missing")
    }
    return value
  }

  public func string(_ name: String) throws(JSONRPCError) -> String {
    let value = try required(name, "a string")
    guard case .string(let string) = value else {
      throw .invalidParams(field: field(name), expected: "a string", got: value)
    }
    return string
  }

  public func optionalString(_ name: String) throws(JSONRPCError) -> String? {
    optional(name) == nil ? nil : try string(name)
  }

  public func bool(_ name: String, default fallback: Bool) throws(JSONRPCError) -> Bool {
    guard let value = optional(name) else { return fallback }
    guard case .bool(let bool) = value else {
      throw .invalidParams(field: field(name), expected: "true or false", got: value)
    }
    return bool
  }

  public func int(_ name: String, in range: ClosedRange<Int64>, default fallback: Int64) throws(JSONRPCError) -> Int64 {
    guard let value = optional(name) else { return fallback }
    // 10.0 is an integer too (JSON Schema, section 6.1.1), and what some languages write for 10.
    guard let int = value.integerValue, range.contains(int) else {
      throw .invalidParams(
        field: field(name), expected: "an integer from \(range.lowerBound) to \(range.upperBound)", got: value)
    }
    return int
  }

  /// An object, whose own fields are then named by their path.
  public func params(_ name: String) throws(JSONRPCError) -> Params {
    let value = try required(name, "an object")
    guard case .object(let object) = value else {
      throw .invalidParams(field: field(name), expected: "an object", got: value)
    }
    return Params(object, path: field(name))
  }
}
