import Glibc
import Synchronization
import Testing

@testable import EventLoop

// Look-ups that hang hold up nobody but who asked.

@Suite("Looking names up", .timeLimit(.minutes(5)))
struct NameLookupTests {
  @Test("each name once at a time, so many at once, and the thread pool is left alone, while none of them ends (C3)")
  func hanging() async throws {
    let server = NameServer()
    try await withLoop { loop in
      let lookups = NameLookups(on: loop) { server.answer($0) }
      let tasks = (0..<60).map { number in
        Task(executorPreference: loop) { try await lookups.addresses(of: "name-\(number % 20)") }
      }
      #expect(await eventually { server.asked.count == NameLookups.maximum })
      // Each thread of libuv's pool, several times.
      for number in 0..<20 {
        let done = try await loop.blocking { number }
        #expect(done == number)
      }
      #expect(server.asked.count == NameLookups.maximum)
      server.release()
      for (number, task) in tasks.enumerated() { #expect(try await task.value == [NameServer.address(number % 20)]) }
      #expect(server.asked.sorted() == (0..<20).map { "name-\($0)" }.sorted(), "each once")
      #expect(try await lookups.addresses(of: "name-3") == [NameServer.address(3)])
      #expect(server.asked.count == 21, "and again when it is asked for again")
    }
  }

  @Test("who no longer waits is let go at once, and a loop ends while a name server does not answer")
  func ending() async throws {
    let server = NameServer()
    try await withLoop { loop in
      let lookups = NameLookups(on: loop) { server.answer($0) }
      let tasks = (0..<30).map { number in
        Task(executorPreference: loop) { try await lookups.addresses(of: "name-\(number)") }
      }
      #expect(await eventually { server.asked.count == NameLookups.maximum })
      for task in tasks {
        task.cancel()
        let error = await #expect(throws: UVError.self) { try await task.value }
        #expect(error?.code == UVError.cancelled)
      }
      #expect(server.ended == 0)
    }
    // The loop is no more, and its threads still wait.
    #expect(server.ended == 0)
    server.release()
    #expect(await eventually { server.ended == NameLookups.maximum })
  }

  @Test("an answer that is an error reaches everybody who asked")
  func errors() async throws {
    try await withLoop { loop in
      let error = UVError(code: UVError.timedOut, operation: "look up")
      let lookups = NameLookups(on: loop) { _ in .failure(error) }
      for _ in 0..<3 {
        await #expect(throws: error) { try await lookups.addresses(of: "name") }
      }
    }
  }
}

/// One that answers nothing until it is released.
private final class NameServer: @unchecked Sendable {
  // @unchecked: a mutex of POSIX around all of it, since look-ups block.
  private var mutex = pthread_mutex_t()
  private var condition = pthread_cond_t()
  private var names: [String] = []
  private var isReleased = false
  private var endedCount = 0

  init() {
    pthread_mutex_init(&mutex, nil)
    pthread_cond_init(&condition, nil)
  }

  static func address(_ number: Int) -> SocketAddress { try! SocketAddress(host: "127.1.0.\(number)", port: 0) }

  func answer(_ name: String) -> NameLookups.Answer {
    locked {
      names.append(name)
      while !isReleased { pthread_cond_wait(&condition, &mutex) }
      endedCount += 1
    }
    return .success([Self.address(Int(name.dropFirst(5))!)])
  }

  func release() {
    locked {
      isReleased = true
      pthread_cond_broadcast(&condition)
    }
  }

  var asked: [String] { locked { names } }
  var ended: Int { locked { endedCount } }

  private func locked<Value>(_ body: () -> Value) -> Value {
    pthread_mutex_lock(&mutex)
    defer { pthread_mutex_unlock(&mutex) }
    return body()
  }
}
