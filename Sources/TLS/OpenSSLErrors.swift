import COpenSSL

/// What OpenSSL put into the error queue of this thread, the oldest first: the first is mostly the cause.
///
/// The queue is emptied by whoever makes a call that may fail, before it (`clear`) and after it (`take`): an error that
/// stays there would be taken for one of the next call, of another connection (SSL_get_error(3)).
struct OpenSSLErrors {
  private let codes: [UInt]

  static func clear() { ERR_clear_error() }

  static func take() -> OpenSSLErrors {
    var codes: [UInt] = []
    while true {
      let code = ERR_get_error()
      if code == 0 { return OpenSSLErrors(codes: codes) }
      codes.append(code)
    }
  }

  /// The reasons that libssl gave.
  var reasons: [Int32] { codes.filter { ERR_GET_LIB($0) == ERR_LIB_SSL }.map { ERR_GET_REASON($0) } }

  func contains(_ library: Int32, _ reason: Int32) -> Bool {
    codes.contains { ERR_GET_LIB($0) == library && ERR_GET_REASON($0) == reason }
  }

  /// OpenSSL's words for the cause.
  var text: String {
    guard let code = codes.first else { return "no reason given" }
    return ERR_reason_error_string(code).map { String(cString: $0) } ?? "error \(String(code, radix: 16))"
  }
}
