import CLibUV
import Glibc

// Names are looked up by getaddrinfo(3), which nothing can interrupt: with a name server that is down, a look-up takes as
// long as resolv.conf(5) says, half a minute and more. So each has a thread of its own, which nobody joins, and none of
// libuv's pool, which jobs and the store need: what hangs holds up nothing but who asked, and not the end of the process.

/// The look-ups of one loop: one for a name at a time, and a few at once; the others wait in line.
actor NameLookups {
  typealias Answer = Result<[SocketAddress], UVError>

  /// Threads at a time. Each costs some memory only, and a name that answers shall not wait for those that do not.
  static let maximum = 16
  private static let stackBytes = 1 << 20

  private unowned let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let lookUp: @Sendable (String) -> Answer
  /// What is looked up or stands in line, by the bytes of the name, for all who wait for it.
  private var underWay: [[UInt8]: Promise<Answer>] = [:]
  private var line: [String] = []
  private var threads = 0

  /// - Parameters:
  ///   - loop: owns this.
  ///   - lookUp: blocking; tests have their own.
  init(on loop: EventLoop, by lookUp: @escaping @Sendable (String) -> Answer = NameLookups.getAddresses) {
    self.loop = loop
    self.lookUp = lookUp
  }

  /// The addresses of a name, without a port.
  /// - Throws: `UVError.cancelled` when the task is cancelled; the look-up goes on for others.
  func addresses(of name: String) async throws(UVError) -> [SocketAddress] {
    let answer: Promise<Answer>
    if let known = underWay[Array(name.utf8)] {
      answer = known
    } else {
      answer = Promise(on: loop)
      underWay[Array(name.utf8)] = answer
      line.append(name)
      startNext()
    }
    guard let answer = await answer.valueUnlessCancelled() else {
      throw UVError(code: UVError.cancelled, operation: Self.operation(name))
    }
    return try answer.get()
  }

  /// Looks up the first name in line, if a thread may be made for it.
  private func startNext() {
    guard threads < Self.maximum, !line.isEmpty else { return }
    threads += 1
    let name = line.removeFirst()
    let error = Self.detach { [loop, lookUp] in
      let answer = lookUp(name)
      // Dropped when the loop has ended meanwhile.
      loop.execute { self.assumeIsolated { $0.finished(name, answer) } }
    }
    if error != 0 { finished(name, .failure(UVError(code: -error, operation: Self.operation(name)))) }
  }

  private func finished(_ name: String, _ answer: Answer) {
    threads -= 1
    underWay.removeValue(forKey: Array(name.utf8))?.resolve(answer)
    startNext()
  }

  private static func operation(_ name: String) -> String { "look up the host \"\(name)\"" }

  // MARK: Threads

  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  /// Runs a body on a thread that nobody waits for (pthread_detach(3)).
  /// - Returns: the error of pthread_create(3), or 0.
  private static func detach(_ body: @escaping @Sendable () -> Void) -> Int32 {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, stackBytes)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    let body = Unmanaged.passRetained(Body(body))
    var handle = pthread_t()
    let error = pthread_create(
      &handle, &attributes,
      { argument in
        hero_set_thread_name("hero-dns")
        // Signals are the loop's.
        var all = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_BLOCK, &all, nil)
        Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }, body.toOpaque())
    if error != 0 { body.release() }
    return error
  }

  // MARK: getaddrinfo

  @Sendable static func getAddresses(of name: String) -> Answer {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let error = getaddrinfo(name, nil, &hints, &list)
    guard error == 0 else { return .failure(UVError(code: code(of: error), operation: operation(name))) }
    defer { freeaddrinfo(list) }
    var addresses: [SocketAddress] = []
    var next = list
    while let entry = next {
      if let address = SocketAddress(entry.pointee.ai_addr), !addresses.contains(address) { addresses.append(address) }
      next = entry.pointee.ai_next
    }
    return .success(addresses)
  }

  private static func code(of error: Int32) -> Int32 {
    switch error {
    case EAI_AGAIN: UV_EAI_AGAIN.rawValue
    case EAI_NONAME: UV_EAI_NONAME.rawValue
    case EAI_MEMORY: UV_EAI_MEMORY.rawValue
    default: UV_EAI_FAIL.rawValue
    }
  }
}
