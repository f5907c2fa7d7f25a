// Requests as bytes, for what the client library never sends.

import EventLoop
import JSONRPC
import Testing

struct HTTPExchange {
  let status: Int
  let headers: [String: String]
  let body: [UInt8]
  var text: String { String(decoding: body, as: UTF8.self) }
  func json() throws -> JSON { try JSON.parse(body) }
}

extension TestNode {
  /// POSTs a body to `/`, by default as JSON.
  func post(
    _ body: String, to path: String = "/", contentType: String? = "application/json", headers: [String] = []
  ) async throws -> HTTPExchange {
    let fields = headers + (contentType.map { ["Content-Type: \($0)"] } ?? [])
    return try await exchange("POST", path, headers: fields + ["Content-Length: \(body.utf8.count)"], body: body)
  }

  /// One request on a connection of its own.
  func exchange(
    _ method: String, _ path: String, headers: [String] = [], body: String = ""
  ) async throws -> HTTPExchange {
    let lines = ["\(method) \(path) HTTP/1.1", "Host: \(endpoint)", "Connection: close"] + headers
    return try await exchange(Array((lines.joined(separator: "\r\n") + "\r\n\r\n" + body).utf8))
  }

  /// One request, as bytes, on a connection of its own; it asks the server to close.
  func exchange(_ request: [UInt8]) async throws -> HTTPExchange {
    let loop = loop
    let address = try SocketAddress(host: endpoint.host, port: endpoint.port)
    let answer = try await Task(executorPreference: loop) {
      try await RawConnection(loop: loop).exchange(request, with: address)
    }.value
    return try HTTPExchange(parsing: answer)
  }
}

/// Sends bytes, and collects bytes until the end.
private actor RawConnection {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private var received: [UInt8] = []

  init(loop: EventLoop) { self.loop = loop }

  func exchange(_ request: [UInt8], with address: SocketAddress) async throws -> [UInt8] {
    let stream = try await TCPStream.connect(to: address, on: loop)
    defer { stream.close() }
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      stream.startReading { event in
        self.assumeIsolated { me in
          switch event {
          case .bytes(let bytes): me.received += Array(bytes)
          case .end, .failed: continuation.resume()
          }
        }
      }
      stream.write(request)
    }
    return received
  }
}

extension HTTPExchange {
  init(parsing bytes: [UInt8]) throws {
    let end = try #require(bytes.firstRange(of: Array("\r\n\r\n".utf8)), "no head: \(bytes.count) bytes")
    let lines = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n")
    let first = try #require(lines.first)
    status = try #require(Int(first.dropFirst("HTTP/1.1 ".count).prefix(3)))
    headers = Dictionary(
      lines.dropFirst().compactMap { line in
        line.firstIndex(of: ":").map {
          (line[..<$0].lowercased(), String(line[line.index(after: $0)...].drop { $0 == " " }))
        }
      }, uniquingKeysWith: { "\($0), \($1)" })
    body = Array(bytes[end.upperBound...])
  }
}
