import ArgumentParser

@main
struct HeroSupervisor: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "hero-supervisor")
}
