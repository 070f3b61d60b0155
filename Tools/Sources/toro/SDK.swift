import ArgumentParser
import Launcher

struct SDK: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sdk", abstract: "The Swift SDK that builds guests.",
        subcommands: [Install.self])

    struct Install: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes the SDKs of the installed toolchain and gives them to SwiftPM.",
            discussion: """
                Afterwards Swift builds guests without toro:

                  \(command(for: .debug))
                  \(command(for: .release))
                """)

        func run() throws {
            try Toro.reporting {
                let root = try Toro.root
                let swift = try SwiftCommand(temporary: root + "/.build/toro/tmp")
                for configuration in BuildConfiguration.allCases {
                    try install(configuration, swift, root)
                    print("installed: \(Install.command(for: configuration))")
                }
                return 0
            }
        }

        private func install(
            _ configuration: BuildConfiguration, _ swift: SwiftCommand, _ root: String
        ) throws {
            let sdk = try GuestSDK(
                root: root, below: ".build/toro", configuration: configuration)
            let known = try swift.capture(["sdk", "list"])
            if known.output.split(separator: "\n").contains(Substring(sdk.name)) {
                _ = try swift.capture(["sdk", "remove", sdk.name])
            }
            let installed = try swift.capture(["sdk", "install", sdk.bundle])
            guard installed.status == 0 else {
                throw LaunchError("swift sdk install failed:\n" + installed.output)
            }
        }

        private static func command(for configuration: BuildConfiguration) -> String {
            "swift build --swift-sdk \(GuestSDK.name(configuration)) -c \(configuration)"
        }
    }
}
