import EventLoop
import Testing

@Suite("UDP", .timeLimit(.minutes(5)))
struct UDPTests {
  @Test("datagrams come back with their borders, also an empty one and the biggest")
  func echo() async throws {
    try await withLoop { loop in
      var server: UDPSocket?
      server = try UDPSocket.bind(to: anyPort, on: loop) { datagram in
        try? server?.send(Array(datagram.bytes), to: datagram.sender)
      }
      var answers: [[UInt8]] = []
      var senders: Set<SocketAddress> = []
      let client = try UDPSocket.bind(to: anyPort, on: loop) { datagram in
        answers.append(Array(datagram.bytes))
        senders.insert(datagram.sender)
      }
      for size in [5, 0, 1400, 65_507] {
        answers = []
        try client.send([UInt8](repeating: 9, count: size), to: server!.localAddress!)
        #expect(await eventually { answers == [[UInt8](repeating: 9, count: size)] })
      }
      #expect(senders == [server!.localAddress!])
      client.close()
      server!.close()
      #expect(client.localAddress == nil)
      server = nil
    }
  }

  @Test("a datagram beyond 65,507 bytes is refused, and so is one after close")
  func tooBig() async throws {
    try await withLoop { loop in
      let socket = try UDPSocket.bind(to: anyPort, on: loop) { _ in }
      let own = socket.localAddress!
      let error = #expect(throws: UVError.self) { try socket.send([UInt8](repeating: 0, count: 65_508), to: own) }
      #expect(error?.code == UVError.messageTooLong)
      socket.close()
      let late = #expect(throws: UVError.self) { try socket.send([1], to: own) }
      #expect(late?.code == UVError.cancelled)
    }
  }

  @Test("a flood to a dead port, or faster than it is read, is no error")
  func flood() async throws {
    try await withLoop { loop in
      let dead = try UDPSocket.bind(to: anyPort, on: loop) { _ in }
      let nobody = dead.localAddress!
      dead.close()
      var received = 0
      let socket = try UDPSocket.bind(to: anyPort, on: loop) { _ in received += 1 }
      for _ in 0..<2000 {
        try socket.send([UInt8](repeating: 0, count: 1400), to: nobody)
        try socket.send([UInt8](repeating: 0, count: 1400), to: socket.localAddress!)
      }
      #expect(await eventually { received > 0 })
      socket.close()
    }
  }

  @Test("an address in use is refused and leaves no handle")
  func inUse() async throws {
    try await withLoop { loop in
      let first = try UDPSocket.bind(to: anyPort, on: loop) { _ in }
      let error = #expect(throws: UVError.self) { try UDPSocket.bind(to: first.localAddress!, on: loop) { _ in } }
      #expect(error?.code == UVError.addressInUse)
      first.close()
    }
  }

  @Test("what has arrived is delivered at once when it is asked for, and no datagram twice")
  func pending() async throws {
    try await withLoop { loop in
      var received: [[UInt8]] = []
      let socket = try UDPSocket.bind(to: anyPort, on: loop) { received.append(Array($0.bytes)) }
      let own = socket.localAddress!
      socket.receivePending()
      #expect(received == [])
      for number in 0..<5 { try socket.send([UInt8(number)], to: own) }
      // Without a turn of the loop.
      socket.receivePending()
      #expect(received == [[0], [1], [2], [3], [4]])
      try socket.send([], to: own)
      #expect(await eventually { received.last == [] })
      #expect(received.count == 6)
      socket.close()
      socket.receivePending()
    }
  }
}
