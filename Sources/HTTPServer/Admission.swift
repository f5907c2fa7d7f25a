/// Decides from a head alone, before the body has come, whether a request is served.
struct Admission: Sendable {
  private let hosts: HostPolicy
  /// A client says the same name each time; it is checked the first time.
  private var knownHost: (bytes: [UInt8], isLoopback: Bool)?
  /// Whether the request that was looked at last says a loopback name, wherever it says one.
  private(set) var isForLoopback = false

  init(hosts: HostPolicy) {
    self.hosts = hosts
  }

  /// Why the request is turned away; nil when it is not.
  mutating func refusal(of head: RequestHead) -> Refusal? {
    do throws(Refusal) {
      isForLoopback = false
      if let range = head.host { isForLoopback = try checkHost(head.headers.block[range]) }
      if let authority = try HostPolicy.authority(inTarget: head.target, method: head.method) {
        isForLoopback = try hosts.check(authority) && isForLoopback
      }
    } catch {
      return error
    }
    if case .other = head.method { return .methodNotAllowed }
    if head.expectation == .unknown { return Refusal(417, "the only expectation met here is 100-continue") }
    return nil
  }

  private mutating func checkHost(_ host: ArraySlice<UInt8>) throws(Refusal) -> Bool {
    if let knownHost, host.elementsEqual(knownHost.bytes) { return knownHost.isLoopback }
    let isLoopback = try hosts.check(String(decoding: host, as: UTF8.self))
    knownHost = (Array(host), isLoopback)
    return isLoopback
  }
}
