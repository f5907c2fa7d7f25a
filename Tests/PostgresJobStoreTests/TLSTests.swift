import EventLoop
import JobStoreConformance
import PostgresServer
import Supervisor
import Testing

@testable import PostgresJobStore

@Suite("The connection to the database", .timeLimit(.minutes(10)))
struct TLSTests {
  @Test("is by TLS where the URL demands it, and to nobody whose certificate the URL's authority has not signed")
  func verified() async throws {
    let server = try PostgresServer(settings: [], tls: true)
    defer { server.remove() }
    let demand = "?sslmode=verify-full&sslrootcert="
    try await StoreFixture.with(url: server.url() + demand + "\(server.directory)/server.crt") { fixture in
      let store = try await fixture.open()
      #expect(try await store.create(.created(.sample("job"))).isNew)
      let connections = try server.sql(
        """
        SELECT count(*), bool_and(ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
        WHERE application_name LIKE 'hero-supervisor%'
        """)
      #expect(connections == "4|t")
    }
    try await StoreFixture.with(url: server.url() + demand + "/etc/ssl/certs/ca-certificates.crt") {
      fixture async throws -> Void in
      await #expect { _ = try await fixture.open() } throws: { "\($0)".contains("certificate verify failed") }
    }
  }
}
