import EventLoop
import Foundation

/// A server of names (RFC 1035) on an address of the loopback interface, and its own resolv.conf(5) for a process.
final class NameServer: Sendable {
  enum Behaviour: Sendable {
    case silent
    case address(String)
    /// Answers no query before this one, counted from 1.
    case addressFromQuery(Int, String)
    case noSuchName
    /// Bytes that are no answer.
    case garbage
  }

  /// One for each process of tests.
  static let address = "127.53.\(getpid() / 250 % 250).\(getpid() % 250 + 1)"
  private let loop: EventLoop
  private let behaviours: [String: Behaviour]
  private let socket: Mutable

  // @unchecked: on the loop only.
  private final class Mutable: @unchecked Sendable {
    var socket: UDPSocket?
    var queries: [String: Int] = [:]
  }

  /// - Parameter behaviours: by name, in lower case; of all others it says nothing.
  init(_ behaviours: [String: Behaviour]) async throws {
    self.behaviours = behaviours
    loop = try EventLoop()
    loop.start()
    socket = Mutable()
    let address = try SocketAddress(host: Self.address, port: 53)
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      loop.execute { [self] in
        continuation.resume(
          with: Result {
            socket.socket = try UDPSocket.bind(to: address, on: loop) { [self] datagram in
              guard let answer = answer(to: Array(datagram.bytes)) else { return }
              try? socket.socket?.send(answer, to: datagram.sender)
            }
          })
      }
    }
  }

  func stop() async {
    await withCheckedContinuation { continuation in
      loop.execute { [self] in
        socket.socket?.close()
        socket.socket = nil
        continuation.resume()
      }
    }
    await loop.stop()
  }

  /// How many queries for addresses of a name have come.
  func queries(for name: String) async -> Int {
    await withCheckedContinuation { continuation in
      loop.execute { [self] in continuation.resume(returning: socket.queries[name] ?? 0) }
    }
  }

  /// Has a program ask this server, in a mount namespace of its own.
  /// - Parameter file: resolv.conf(5).
  static func wrapper(_ file: String) -> [String] {
    ["/usr/bin/unshare", "-m", "/bin/sh", "-c", "mount --bind '\(file)' /etc/resolv.conf && exec \"$@\"", "sh"]
  }

  /// Whether this process may do so.
  static let isPermitted: Bool = {
    guard getuid() == 0,
      let file = try? FileManager.default.url(
        for: .itemReplacementDirectory, in: .userDomainMask, appropriateFor: URL(fileURLWithPath: "/tmp"), create: true)
    else { return false }
    defer { try? FileManager.default.removeItem(at: file) }
    let path = file.appending(path: "resolv.conf").path
    guard (try? "".write(toFile: path, atomically: false, encoding: .utf8)) != nil else { return false }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
    process.arguments = Array(wrapper(path).dropFirst()) + ["/bin/true"]
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return false }
    process.waitUntilExit()
    return process.terminationStatus == 0
  }()

  // MARK: Messages

  private func answer(to query: [UInt8]) -> [UInt8]? {
    guard query.count > 12, let (name, end) = Self.name(in: query), end + 4 <= query.count else { return nil }
    let isForAddress = query[end] == 0 && query[end + 1] == 1
    if isForAddress { socket.queries[name, default: 0] += 1 }
    let question = Array(query[12..<(end + 4)])
    func message(code: UInt8, addresses: [String]) -> [UInt8] {
      let records = addresses.flatMap { address -> [UInt8] in
        // A pointer to the question's name, type A, class IN, ten seconds, four bytes.
        [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 10, 0, 4] + address.split(separator: ".").map { UInt8($0)! }
      }
      return query[0..<2] + [0x81, 0x80 | code, 0, 1, 0, UInt8(addresses.count), 0, 0, 0, 0] + question + records
    }
    switch behaviours[name] {
    case nil, .silent: return nil
    case .address(let address): return message(code: 0, addresses: isForAddress ? [address] : [])
    case .addressFromQuery(let first, let address):
      guard socket.queries[name, default: 0] >= first else { return nil }
      return message(code: 0, addresses: isForAddress ? [address] : [])
    case .noSuchName: return message(code: 3, addresses: [])
    case .garbage: return Array(query[0..<2]) + [UInt8](repeating: 0xFF, count: 30)
    }
  }

  private static func name(in query: [UInt8]) -> (String, end: Int)? {
    var labels: [String] = []
    var index = 12
    while index < query.count, query[index] > 0 {
      let end = index + 1 + Int(query[index])
      guard end < query.count else { return nil }
      labels.append(String(decoding: query[(index + 1)..<end], as: UTF8.self).lowercased())
      index = end
    }
    return index < query.count ? (labels.joined(separator: "."), index + 1) : nil
  }
}
