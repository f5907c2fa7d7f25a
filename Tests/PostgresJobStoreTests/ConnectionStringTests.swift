import EventLoop
import Testing

@testable import PostgresJobStore

@Suite("A connection string", .timeLimit(.minutes(5)))
struct ConnectionStringTests {
  /// With a password that holds "Hush" wherever it is cut; and what is said of each.
  static let cases: [(text: String, words: String)] = [
    ("postgresql://hero:a%zzHush@h/db", "hexadecimal digits"),
    ("postgres://hero:Hush%@h/db", "hexadecimal digits"),
    ("postgresql://hero:%00Hush@h/db", "%00"),
    ("postgresql://hero:Hush/Hush@h/db", "@"),
    ("postgresql://hero:12/Hush@h/db", "@"),
    ("postgresql://hero:Hush@Hush@h/db", "@"),
    ("postgresql://hero:Hush@/Hush@h/db", "@"),
    ("postgresql://hero:Hush/db", "port"),
    ("postgresql://hero@h:Hush/db", "port"),
    ("postgresql://hero:0/Hush", "port"),
    ("postgresql://h/db?Hush=1", "option"),
    ("postgresql://h/db?password=Hush=Hush", "NAME=VALUE"),
    ("postgresql://h/db?Hush", "NAME=VALUE"),
    ("postgresql://hero:Hush@[::1/db", "]"),
    ("postgresql://hero:Hush@[]/db", "IPv6"),
    ("postgresql://hero:Hush@[::1]Hush/db", "malformed"),
    ("postgresql:/hero:Hush@h/db", "\"=\""),
    ("https://hero:Hush@h/db?sslmode=require", "option"),
    ("host=h password=a Hush user=hero", "\"=\""),
    ("host=h password=a Hush=1 user=hero", "option"),
    ("host=h password='a Hush user=hero", "quotation mark"),
    ("host=h password=a\\ Hush Hush", "\"=\""),
    ("host=h port=Hush", "port"),
    ("host=h port=1,Hush", "port"),
    ("dbname=postgresql://hero:Hush@h/db", "URL"),
    ("Hush", "\"=\""), ("host=h password=Hush\0", "NUL"),
  ]

  @Test("that is malformed is described without any part of it", arguments: cases)
  func malformed(text: String, words: String) async throws {
    let problem = try #require(ConnectionString.problem(with: text), "\(text)")
    #expect(problem.contains(words) && !problem.contains("Hush"), "\(text): \(problem)")
    let loop = try EventLoop()
    loop.start()
    let error = await failure(text, loop)
    await loop.stop()
    #expect(error.contains(problem) && !error.contains("Hush"), "\(text): \(error)")
  }

  @Test(
    "with a value that libpq refuses when it connects is described without that value",
    arguments: [
      "host=127.0.0.1 password=Hush sslmode=Hush", "postgresql://hero:Hush@127.0.0.1/db?sslmode=Hush",
      "host=127.0.0.1 target_session_attrs=Hush", "host=127.0.0.1 connect_timeout=Hush",
      "host=127.0.0.1 gssencmode=Hush",
      "host=127.0.0.1 channel_binding=Hush", "service=Hush", "host=127.0.0.1,127.0.0.1 port=1,2,3",
      "host=127.0.0.1 keepalives=Hush", "hostaddr=Hush", "host=127.0.0.1 ssl_min_protocol_version=Hush",
    ])
  func refused(text: String) async throws {
    #expect(ConnectionString.problem(with: text) == nil)
    let loop = try EventLoop()
    loop.start()
    let error = await failure(text, loop)
    await loop.stop()
    #expect(!error.isEmpty && !error.contains("Hush"), "\(text): \(error)")
  }

  @Test(
    "of any form that libpq documents is one",
    arguments: [
      "", "host=localhost port=5432 dbname=mydb connect_timeout=10", "postgresql://", "postgresql://localhost",
      "postgresql://localhost:5433", "postgresql://localhost/mydb", "postgresql://user@localhost",
      "postgresql://user:secret@localhost",
      "postgresql://other@localhost/otherdb?connect_timeout=10&application_name=a@b",
      "postgresql://host1:123,host2:456/somedb?target_session_attrs=any&application_name=myapp",
      "postgresql:///mydb?host=localhost&port=5433", "postgresql://[2001:db8::1234]/database",
      "postgresql:///dbname?host=/var/lib/postgresql", "postgresql://%2Fvar%2Flib%2Fpostgresql/dbname",
      "postgresql://u:p%40%2F%25@h/db", "password='a b@c/d' host=h,k port=1,", "postgresql://u:a?b@h/db",
    ])
  func sound(text: String) {
    #expect(ConnectionString.problem(with: text) == nil)
  }

  @Test("that is sound leaves libpq its words about the server")
  func server() async throws {
    let loop = try EventLoop()
    loop.start()
    let error = await failure("host=127.0.0.1 port=1 password=Hush", loop)
    await loop.stop()
    #expect(error.contains("127.0.0.1") && error.contains("refused") && !error.contains("Hush"), "\(error)")
  }

  private func failure(_ text: String, _ loop: EventLoop) async -> String {
    await Task(executorPreference: loop) {
      do throws(PostgresError) {
        try await PostgresConnection.open({ text }, defaults: [("connect_timeout", "2")], on: loop).close()
        return ""
      } catch {
        return "\(error)"
      }
    }.value
  }
}
