/// Decides from a head alone, before the body has come, whether a request is served.
struct Admission: Sendable {
  private let hosts: HostPolicy
  /// A client says the same name each time; it is checked the first time.
  private var knownHost: [UInt8]?

  init(hosts: HostPolicy) {
    self.hosts = hosts
  }

  /// Why the request is turned away; nil when it is not.
  mutating func refusal(of head: RequestHead) -> Refusal? {
    do throws(Refusal) {
      if let authority = try HostPolicy.authority(inTarget: head.target, method: head.method) {
        try check(authority)
      }
      if let range = head.host { try checkHost(head.headers.block[range]) }
    } catch {
      return error
    }
    if case .other = head.method { return .methodNotAllowed }
    if head.expectation == .unknown { return Refusal(417, "the only expectation met here is 100-continue") }
    return nil
  }

  private mutating func checkHost(_ host: ArraySlice<UInt8>) throws(Refusal) {
    if let knownHost, host.elementsEqual(knownHost) { return }
    try check(String(decoding: host, as: UTF8.self))
    knownHost = Array(host)
  }

  private func check(_ authority: String) throws(Refusal) {
    try HostPolicy.check(authority)
    guard hosts.allows(authority) else { throw .hostNotServed }
  }
}
