import EventLoop
import Logging
import Supervisor

// All connections of a node are to one server, the one that takes its writes. PostgreSQL tells a session when its server
// stops taking writes (`PostgresConnection.refusesWrites`); that the writer has gone to another server is seen here.

extension PostgresJobStore {
  /// What every connection does and finds out before it is used.
  func meet(_ connection: PostgresConnection, as settings: SessionSettings) async -> PostgresError? {
    await settings.apply(to: connection)
    do throws(PostgresError) { connection.server = try await DatabaseServer.ask(connection) } catch { return error }
    return nil
  }

  /// Whether a connection that reads, or holds the lease, is to the writer's server.
  func join(_ connection: PostgresConnection, as settings: SessionSettings) async -> PostgresError? {
    if let error = await meet(connection, as: settings) { return error }
    guard let server = connection.server else { return nil }
    // What only reads (an export) may read at a standby.
    if server.isReadOnly, isWriting { return .refused(state: "25006", message: "\(server.name) takes no writes") }
    guard let writer = writerLine.connection, server.differs(from: writer.server) else { return nil }
    // One of the two has been left by the cluster: the writer's, if it does not answer any more.
    if case .failure(let error) = await writer.run([Statement(sql: "SELECT 1")], within: .seconds(1)) {
      leave(writer, because: error)
    }
    guard writerLine.connection != nil else { return nil }
    return .notConnected("\(server.name) is another server than \(writer.server?.name ?? "") that takes the writes")
  }

  /// A connection was made: what is connected to another server than the writer is connected anew.
  func gather() {
    guard let server = writerLine.connection?.server else { return }
    if server.differs(from: lastServer) {
      statistics.serverChanges += 1
      logger.notice(
        "the database is another server, or was restarted",
        metadata: ["server": "\(server.name)", "before": "\(lastServer?.name ?? "")"])
    }
    lastServer = server
    for line in followers {
      guard let connection = line.connection, connection.server?.differs(from: server) == true else { continue }
      line.replace(connection, because: .lost("the writes go to another server"))
    }
  }

  /// The writer's connection is of no use any more: looks for another, perhaps to another server. Nobody reads what a
  /// server says that takes no writes.
  func leave(_ connection: PostgresConnection, because error: PostgresError) {
    writerLine.replace(connection, because: error)
    guard error.state == "25006" else { return }
    for line in followers {
      if let other = line.connection { line.replace(other, because: error) }
    }
  }

  /// Looks after connections that have not answered for long. What waits for a lock or for a standby is let be, since to leave
  /// it would leave its session; whose session is not there any more, or has nothing to do, will never answer.
  func watchSilence() async {
    while (try? await loop.sleep(for: .seconds(5))) != nil {
      for line in [writerLine!] + readers {
        guard let connection = line.connection, let since = connection.busySince,
          since.duration(to: .now) > .seconds(10)
        else { continue }
        if let session = connection.server?.session {
          let query = Statement(
            sql: "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state IS DISTINCT FROM 'idle'",
            parameters: [.int(session)])
          guard let asked = followers.first(where: { $0 !== line && $0.connection?.busySince == nil })?.connection,
            case .success(let results) = await asked.run([query], within: .seconds(3)), results[0].count == 0
          else { continue }
        } else if since.duration(to: .now) < .seconds(60) {
          continue
        }
        if connection.busySince == since { connection.fail("its session at the server is gone") }
      }
    }
  }

  /// All but the writer's.
  private var followers: [ConnectionLine] { [controlLine].compactMap(\.self) + readers }

  private var isWriting: Bool { if case .none = lease.state { false } else { true } }
}
