import ArgumentParser

/// The command line as a whole; each group of commands has its own file under `Commands/`.
struct HeroSupervisor: ParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "hero-supervisor",
    abstract: "Runs jobs on runners, and survives the machines it runs on.",
    discussion: """
      A node is started by `hero-supervisor node`; all other commands talk to a
      running node, but `store` and `config`, which read what a node would.

      EXAMPLES
        hero-supervisor node
        hero-supervisor runner register default
        hero-supervisor job run --runner default 'echo hello'
        hero-supervisor job list --status failed

      WHICH NODE
        --endpoint, or HERO_ENDPOINTS (separated by commas): HOST:PORT, or
        unix:PATH for api.sock in the data directory of a node on this machine.
        Else the local node: api.sock in the data directory (HERO_DATA_DIR), or
        127.0.0.1:8082 where there is none. By https://HOST:PORT with TLS: the
        node must prove its name by a certificate of the system's authorities,
        or of those that --ca-file or HERO_CA_FILE names.

      WHICH KEY
        --secret-file, or HERO_SECRET, or, over a unix socket only, admin.secret
        in the data directory.

      EXIT STATUS
        0 success; 1 failed; 2 wrong usage or configuration; 3 no node reached;
        4 refused by the node; 124 the job ran into its timeout; 130 interrupted.

      COMPLETION
        hero-supervisor --generate-completion-script bash|zsh|fish
      """,
    version: version,
    subcommands: [
      NodeCommand.self, RunnerCommand.self, JobCommand.self, KeyCommand.self, ClusterCommand.self,
      StoreCommand.self, ConfigCommand.self, RPCCommand.self,
    ])
}
