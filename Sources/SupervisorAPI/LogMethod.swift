import ExactText
import JSONRPC
import Supervisor

// `job.logs`: a part of what a job wrote, while it runs too.

extension SupervisorAPI {
  func logs(_ params: Params, _ call: APICall) async throws(JSONRPCError) -> JSON {
    let grant = try authenticator.admit(.jobReading, params, call)
    try params.refuseOthers(than: ["secret", "job_id", "stream", "offset", "limit"])
    let id: JobID = try params.name("job_id")
    let stream = try params.optionalString("stream") ?? "stdout"
    let isStdout = stream.isExactly("stdout")
    guard isStdout || stream.isExactly("stderr") else {
      throw .invalidParams(field: params.field("stream"), expected: "\"stdout\" or \"stderr\"")
    }
    let offset = Int(try params.int("offset", in: 0...(1 << 40), default: 0))
    let limit = Int(try params.int("limit", in: 1...(1 << 20), default: 1 << 18))
    try call.take(limit)
    defer { call.giveBack(limit) }
    let live = try await answering { () async throws(SupervisorError) in try await registry.output(id, of: grant.jobs) }
    let (output, isFinal) = (live.output, live.isFinal)
    let bytes = isStdout ? output.stdout : output.stderr
    let dropped = isStdout ? output.stdoutDropped : output.stderrDropped
    let start = min(offset, bytes.count)
    let part = bytes[start..<min(start + limit, bytes.count)]
    let (data, encoding, count) = Self.encoded(part, mayEndEarly: !isFinal || part.endIndex < bytes.count)
    let next = start + count
    return [
      "data": .string(data), "offset": .int(Int64(next)), "eof": .bool(isFinal && next == bytes.count),
      "dropped": .int(Int64(dropped)), "encoding": .string(encoding),
      "attempt": .int(Int64(live.attempt)),
    ]
  }

  /// As text when it is UTF-8; a character that the part cuts is left for the next one. Else in base64.
  private static func encoded(_ part: ArraySlice<UInt8>, mayEndEarly: Bool) -> (String, String, Int) {
    var text = part
    for _ in 0..<4 {
      if let string = String(validating: text, as: UTF8.self), !text.isEmpty || part.isEmpty {
        return (string, "utf-8", text.count)
      }
      guard mayEndEarly, !text.isEmpty else { break }
      text = text.dropLast()
    }
    return (base64(part), "base64", part.count)
  }

  /// RFC 4648, section 4.
  static func base64(_ bytes: ArraySlice<UInt8>) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    var rest = bytes
    while !rest.isEmpty {
      let group = Array(rest.prefix(3))
      rest = rest.dropFirst(3)
      let bits = group.enumerated().reduce(UInt32(0)) { $0 | UInt32($1.element) << (16 - 8 * UInt32($1.offset)) }
      for index in 0..<4 {
        text.append(index <= group.count ? alphabet[Int(bits >> (18 - 6 * UInt32(index))) & 63] : UInt8(ascii: "="))
      }
    }
    return String(decoding: text, as: UTF8.self)
  }
}
