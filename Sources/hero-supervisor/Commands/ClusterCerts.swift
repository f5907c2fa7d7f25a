import ArgumentParser
import EventLoop
import JSONRPC
import TLS

/// `hero-supervisor cluster certs …`: an authority of one's own. These commands ask no node.
struct ClusterCerts: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "certs", abstract: "Make an authority, and certificates for nodes and clients.",
    discussion: """
      All files are PEM: ca.pem is for api.tls.client_ca, cluster.tls.ca and
      --ca-file, revoked.pem for api.tls.client_crl and cluster.tls.crl, NAME.pem
      and NAME.key for api.tls.certificate and api.tls.key, or cluster.tls.certificate
      and cluster.tls.private_key. Keep the directory of the authority on a
      machine of its own: whoever can read ca.key can be every node and client.

      EXAMPLES
        hero-supervisor cluster certs init --out authority
        hero-supervisor cluster certs issue node-1 --authority authority \\
            --dns node-1.example --ip 10.0.0.1
        hero-supervisor cluster certs issue deployer --authority authority
        hero-supervisor cluster certs revoke deployer --authority authority
      """,
    subcommands: [ClusterCertsInit.self, ClusterCertsIssue.self, ClusterCertsRevoke.self])

  /// What `--days` takes.
  static func check(days: Int) throws(ValidationError) {
    guard (1...36_500).contains(days) else {
      throw ValidationError("--days must be a number from 1 to 36500, got \(days)")
    }
  }
}

struct ClusterCertsInit: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init", abstract: "Make an authority.",
    discussion: """
      Writes ca.pem (its certificate), ca.key (its key, mode 0600) and revoked.pem
      (its revocation list, empty). Keys are ECDSA on P-256.

      EXAMPLES
        hero-supervisor cluster certs init --out /root/authority
        hero-supervisor cluster certs init --out authority --days 1825
      """)

  @Option(
    help: ArgumentHelp("The directory of the authority; it is made if it is missing.", valueName: "directory"),
    completion: .directory)
  var out: String

  @Option(help: ArgumentHelp("Its name, for people. (default: with random digits)"))
  var name: String?

  @Option(help: ArgumentHelp("How long it is valid.")) var days = 3650

  @Flag(help: "Print JSON.") var json = false

  func validate() throws {
    try ClusterCerts.check(days: days)
    if let name, !(1...64).contains(name.utf8.count) { throw ValidationError("--name must have 1 to 64 bytes") }
  }

  func run() throws {
    let directory = AuthorityDirectory(path: out)
    // So that no two have the same name, which is how the issuer of a certificate is found.
    let digits = ClusterKey.random().written().prefix(8)
    let authority = try directory.create(named: name ?? "Hero Supervisor authority \(digits)", days: days)
    let end = CertificateValidity.date(authority.notAfter)
    if json {
      let answer: JSON = [
        "certificate": .string(directory.certificatePath), "revocations": .string(directory.revocationsPath),
        "expires": .string(end),
      ]
      return StandardStreams.out(answer.pretty())
    }
    StandardStreams.out("made an authority in \(out), valid until \(end)\n")
  }
}

struct ClusterCertsIssue: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "issue", abstract: "Issue a certificate for a node or a client.",
    discussion: """
      With --dns or --ip it is one of a node, which must be called by one of these
      names or addresses; without, one of a client. For cluster.tls, one --dns must
      be the node's name. Writes NAME.pem and NAME.key
      (mode 0600). A node takes new files on SIGHUP.

      EXAMPLES
        hero-supervisor cluster certs issue node-1 --authority authority \\
            --dns node-1.example --dns localhost --ip 10.0.0.1 --ip 127.0.0.1
        hero-supervisor cluster certs issue deployer --authority authority \\
            --out . --days 90
        hero-supervisor cluster certs issue node-1 --authority authority \\
            --dns node-1.example --replace
      """)

  @Argument(help: "The name of the node or client, and of the files.") var name: String

  @Option(
    help: ArgumentHelp("The directory of the authority.", valueName: "directory"), completion: .directory)
  var authority: String

  @Option(help: ArgumentHelp("A name by which the node is called; may be repeated.", valueName: "name"))
  var dns: [String] = []

  @Option(help: ArgumentHelp("An address by which it is called; may be repeated.", valueName: "address"))
  var ip: [String] = []

  @Option(
    help: ArgumentHelp("Where the files go. (default: the authority's directory)", valueName: "directory"),
    completion: .directory)
  var out: String?

  @Option(help: ArgumentHelp("How long it is valid, at most as long as the authority.")) var days = 397

  @Flag(help: "Replace the files of an earlier certificate.") var replace = false

  @Flag(help: "Print JSON.") var json = false

  func validate() throws {
    try ClusterCerts.check(days: days)
    guard AuthorityDirectory.isName(name) else {
      throw ValidationError(
        "NAME must be 1 to 64 letters, digits, '.', '-' or '_', begin with a letter or digit, and be none of ca, "
          + "revoked and issued")
    }
    for address in ip where (try? SocketAddress(host: address, port: 0)) == nil {
      throw ValidationError("--ip must be a numeric address, got \(quoted(address))")
    }
  }

  func run() throws {
    let purpose: CertificateAuthority.Purpose =
      dns.isEmpty && ip.isEmpty ? .client : .node(names: dns, addresses: ip)
    let issue = try AuthorityDirectory(path: authority).issue(
      name, for: purpose, days: days, to: out ?? authority, replaces: replace)
    let end = CertificateValidity.date(issue.notAfter)
    if json {
      let answer: JSON = [
        "certificate": .string(issue.certificatePath), "key": .string(issue.keyPath), "serial": .string(issue.serial),
        "expires": .string(end),
      ]
      return StandardStreams.out(answer.pretty())
    }
    let whose = purpose == .client ? "the client" : "the node"
    StandardStreams.out(
      "wrote \(issue.certificatePath) and \(issue.keyPath) for \(whose) \(name), valid until \(end)\n")
  }
}

struct ClusterCertsRevoke: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "revoke", abstract: "Take back the certificates of a node or a client.",
    discussion: """
      All certificates that were issued for NAME so far are put on revoked.pem; one
      that is issued later is a new one. Bring the file to the nodes, where
      api.tls.client_crl or cluster.tls.crl names it, and send them SIGHUP: new
      connections with such a certificate are refused then, and links to the node
      that has it end.

      EXAMPLES
        hero-supervisor cluster certs revoke deployer --authority authority
      """)

  @Argument(help: "The name of the node or client.") var name: String

  @Option(
    help: ArgumentHelp("The directory of the authority.", valueName: "directory"), completion: .directory)
  var authority: String

  @Flag(help: "Print JSON.") var json = false

  func run() throws {
    let directory = AuthorityDirectory(path: authority)
    let (all, new) = try directory.revoke(name)
    if json {
      let answer: JSON = [
        "revocations": .string(directory.revocationsPath), "certificates": .int(Int64(all)), "new": .int(Int64(new)),
      ]
      return StandardStreams.out(answer.pretty())
    }
    let count = all == 1 ? "the certificate" : "all \(all) certificates"
    StandardStreams.out("revoked \(count) of \(name) in \(directory.revocationsPath)\n")
  }
}
