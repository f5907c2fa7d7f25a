/// The section `store`: exactly one of `sqlite` and `postgres`.
struct StoreReading {
  enum Choice {
    /// Relative to the data directory, or absolute.
    case sqlite(path: String)
    case postgres(url: SecretReference, leaseSeconds: Double, connections: Int)
  }

  let choice: Choice
  /// The layer that chose.
  let source: SettingSource

  init(_ section: SettingReader) {
    var section = section
    let sqliteNode = section.node["sqlite"]
    let postgresNode = section.node["postgres"]
    var sqlite = section.section("sqlite")
    let path = sqlite.value("path", .string("a path"), default: "jobs.db")
    sqlite.finish()
    var postgres = section.section("postgres")
    let url = postgres.optional("url", .secret)
    let lease = postgres.value("lease_seconds", .number(3...600), default: 15)
    let connections = postgres.value("connections", .int(3...100), default: 4)
    postgres.finish()
    section.finish()

    // Within one layer the two exclude each other; across layers the higher one wins, like any setting.
    if let sqliteNode, let postgresNode, sqliteNode.source.rank == postgresNode.source.rank {
      section.findings.problem(
        "\(section.path)", "\"sqlite\" and \"postgres\" exclude each other; remove one", postgresNode.source)
    }
    guard let postgresNode, postgresNode.source.rank >= sqliteNode?.source.rank ?? 0 else {
      choice = .sqlite(path: path)
      source = sqliteNode?.source ?? .builtIn
      return
    }
    if postgresNode["url"] == nil, case .object = postgresNode.value {
      section.findings.problem("\(section.path).postgres", "needs the key \"url\"", postgresNode.source)
    }
    choice = .postgres(url: url ?? .literal(Secret("")), leaseSeconds: lease, connections: connections)
    source = postgresNode.source
  }
}
