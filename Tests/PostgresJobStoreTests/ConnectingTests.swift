import EventLoop
import Foundation
import JobStoreConformance
import Logging
import PostgresServer
import Supervisor
import Synchronization
import Testing

@testable import PostgresJobStore

// Connections that a server refuses: for now, or until somebody changes something; and what is said of it.

@Suite("A database that takes no connection", .timeLimit(.minutes(10)))
struct ConnectingTests {
  @Test("because all are taken is waited for at the start, as one that is starting up")
  func allTaken() async throws {
    let server = try PostgresServer(settings: ["fsync = off", "max_connections = 8"])
    defer { server.remove() }
    try await StoreFixture.with(url: server.url()) { fixture in
      var others: [PostgresConnection] = []
      // As many as there are, less what the server's own programs may have.
      while let other = try? await PostgresConnection.open({ fixture.url }, defaults: [], on: fixture.loop) {
        others.append(other)
      }
      let taken = others
      #expect(taken.count > 4)
      let logged = LogLines()
      let options = fixture.options()
      let opening = Task { try await PostgresJobStore.open(options, loop: fixture.loop, logger: logged.logger) }
      #expect(await eventually { logged.lines.contains { $0.contains("waiting for the database") } })
      await Task(executorPreference: fixture.loop) { for other in taken { other.close() } }.value
      let opened = try await opening.value
      #expect(logged.lines.allSatisfy { !$0.contains("\n") && !$0.contains("\t") })
      await opened.close()
    }
  }

  @Test("because the password has changed is reached with the new one; that the old one fails is logged once")
  func password() async throws {
    let server = try PostgresServer(settings: ["fsync = off"])
    defer { server.remove() }
    try server.sql("CREATE ROLE changing LOGIN PASSWORD 'one'")
    try server.sql("CREATE DATABASE changed OWNER changing")
    let rules = "\(server.directory)/data/pg_hba.conf"
    let old = try String(contentsOfFile: rules, encoding: .utf8)
    try ("host all changing 127.0.0.1/32 scram-sha-256\n" + old).write(
      toFile: rules, atomically: false, encoding: .utf8)
    try server.sql("SELECT pg_reload_conf()")
    let file = Passwords("one")
    @Sendable func url(_ password: String) -> String {
      "postgresql://changing:\(password)@127.0.0.1:\(server.port)/changed"
    }
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'changing'"
    try await StoreFixture.with(url: url("one")) { fixture in
      let logged = LogLines()
      var options = fixture.options()
      options.freshURL = { url(file.password) }
      let store = try await PostgresJobStore.open(options, loop: fixture.loop, logger: logged.logger)
      do {
        try await store.begin()
        try server.sql("ALTER ROLE changing PASSWORD 'two'")
        file.password = "two"
        try server.sql(cut)
        #expect(await eventually { await store.statistics.connections == 8 })
        #expect(try await store.create(.created(.sample("with-two"))).isNew)

        try server.sql("ALTER ROLE changing PASSWORD 'three'")
        try server.sql(cut)
        #expect(await eventually { await store.unavailability()?.contains("password authentication failed") == true })
        // Several attempts of each connection.
        let failures = "password authentication failed"
        #expect(
          try await eventually {
            try String(contentsOfFile: "\(server.directory)/log", encoding: .utf8).components(separatedBy: failures)
              .count
              > 16
          })
        #expect((1...2).contains(logged.lines.count { $0.contains(failures) }), "\(logged.lines)")
        file.password = "three"
        #expect(await eventually { await store.unavailability() == nil })
        #expect(try await store.create(.created(.sample("with-three"))).isNew)
        #expect(logged.lines.allSatisfy { !$0.contains("one@") && !$0.contains("two@") && !$0.contains("three@") })
      } catch {
        await store.close()
        throw error
      }
      await store.close()
    }
  }

  @Test("is said in one line, whatever the server says")
  func oneLine() async throws {
    #expect(PostgresError.inOneLine("a\n\tb\r\n\u{7f} c \u{1b}[31m\n\n") == "a; b; c [31m")
    try await StoreFixture.with { fixture in
      let connection = try await PostgresConnection.open({ fixture.url }, defaults: [], on: fixture.loop)
      await Task(executorPreference: fixture.loop) {
        let raise = Statement(sql: "DO $$ BEGIN RAISE EXCEPTION E'first\\n\\tsecond'; END $$")
        let answer = await connection.run([raise])
        #expect(throws: PostgresError.refused(state: "P0001", message: "first; second")) { try answer.get() }
        connection.close()
      }.value
    }
  }
}

/// A password that somebody changes.
private final class Passwords: Sendable {
  private let present: Mutex<String>
  init(_ password: String) { present = Mutex(password) }
  var password: String {
    get { present.withLock { $0 } }
    set { present.withLock { $0 = newValue } }
  }
}

/// What a store logs.
private final class LogLines: Sendable {
  private let all = Mutex<[String]>([])
  var lines: [String] { all.withLock { $0 } }
  var logger: Logger { Logger(label: "test") { _ in Handler(lines: self) } }

  private struct Handler: LogHandler {
    let lines: LogLines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.debug
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let words = (event.metadata ?? [:]).map { "\($0)=\($1)" }.joined(separator: " ")
      lines.all.withLock { $0.append("\(event.message) \(words)") }
    }
  }
}
