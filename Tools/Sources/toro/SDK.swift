import ArgumentParser
import Launcher

struct SDK: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sdk", abstract: "The Swift SDK that builds guests.",
        subcommands: [Install.self])

    struct Install: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes the SDK of the installed toolchain and gives it to SwiftPM.",
            discussion: """
                Afterwards Swift builds guests without toro:

                  swift build --swift-sdk \(GuestSDK.name) -c release
                """)

        func run() throws {
            try Toro.reporting {
                let sdk = try GuestSDK(root: Toro.root, below: ".build/toro")
                guard let swift = Command.find("swift") else {
                    throw LaunchError.missing("swift is not in PATH")
                }
                let known = try Command.capture(swift, ["sdk", "list"])
                if known.output.split(separator: "\n").contains(Substring(GuestSDK.name)) {
                    _ = try Command.capture(swift, ["sdk", "remove", GuestSDK.name])
                }
                let installed = try Command.capture(swift, ["sdk", "install", sdk.bundle])
                guard installed.status == 0 else {
                    throw LaunchError("swift sdk install failed:\n" + installed.output)
                }
                print("installed: swift build --swift-sdk \(GuestSDK.name) -c release")
                return 0
            }
        }
    }
}
