import ExactText
import JSONRPC
import Supervisor

/// The members of an object in a line of an export, each with its type.
struct ExportFields {
  private let object: JSONObject
  private let name: String

  /// - Parameter name: of the object, for the words of an error.
  init(_ json: JSON, _ name: String) throws(ExportLineError) {
    guard case .object(let object) = json else { throw ExportLineError(reason: "is damaged: \(name) is no object") }
    self.object = object
    self.name = name
  }

  func wrong(_ key: String) -> ExportLineError {
    ExportLineError(reason: "is not valid: \(name) has no valid \(quoted(key))")
  }

  private func has(_ key: String) -> Bool { object[key].map { !$0.isNull } ?? false }

  /// `nil` when the member is not there.
  func optional<Value>(
    _ key: String, _ read: (ExportFields) throws(ExportLineError) -> Value
  ) throws(ExportLineError) -> Value? {
    has(key) ? try read(self) : nil
  }

  func text(_ key: String) throws(ExportLineError) -> String {
    guard let text = object[key]?.stringValue else { throw wrong(key) }
    return text
  }

  /// From 0.
  func integer(_ key: String) throws(ExportLineError) -> Int64 {
    guard let number = object[key]?.intValue, number >= 0 else { throw wrong(key) }
    return number
  }

  /// One of the words of an enumeration.
  func word<Word: CaseIterable & RawRepresentable<String>>(_ key: String) throws(ExportLineError) -> Word {
    guard let word = Word(exactly: try text(key)) else { throw wrong(key) }
    return word
  }

  func number(_ key: String) throws(ExportLineError) -> Double {
    guard let number = object[key]?.doubleValue else { throw wrong(key) }
    return number
  }

  func truth(_ key: String) throws(ExportLineError) -> Bool {
    guard let value = object[key]?.boolValue else { throw wrong(key) }
    return value
  }

  func time(_ key: String) throws(ExportLineError) -> Timestamp {
    guard let time = Timestamp(rfc3339: try text(key)) else { throw wrong(key) }
    return time
  }

  func optionalTime(_ key: String) throws(ExportLineError) -> Timestamp? { has(key) ? try time(key) : nil }

  func name<N: Name>(_ key: String) throws(ExportLineError) -> N {
    let text = try text(key)
    do throws(InvalidName) { return try N(text) } catch {
      throw ExportLineError(reason: "is not valid: \(key) of \(name) \(error.reason)")
    }
  }

  func bytes(_ key: String) throws(ExportLineError) -> [UInt8] {
    guard let bytes = Base64.decode(try text(key)) else { throw wrong(key) }
    return bytes
  }

  func fields(_ key: String) throws(ExportLineError) -> ExportFields {
    guard let member = object[key] else { throw wrong(key) }
    return try ExportFields(member, "\(name)'s \(key)")
  }

  /// Names as they were taken once, also those that would be refused today.
  func variables(_ key: String) throws(ExportLineError) -> [VariableName: String] {
    var variables: [VariableName: String] = [:]
    for (name, value) in object[key]?.objectValue?.members ?? [] {
      guard case .string(let text) = value else { throw wrong(key) }
      variables[VariableName(trusted: name)] = text
    }
    return variables
  }
}
