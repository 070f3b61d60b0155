// swift-tools-version: 6.2
import PackageDescription

// Guests that the tests boot: each shows, or breaks, one promise of the platform.
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"), .strictMemorySafety(),
]

func toro(_ names: String...) -> [Target.Dependency] {
    names.map { .product(name: $0, package: "toro") }
}

let package = Package(
    name: "guests",
    dependencies: [.package(name: "toro", path: "../..")],
    targets: [
        .target(name: "CHeap"),
        .executableTarget(
            name: "Probe",
            dependencies: ["CHeap"]
                + toro(
                    "ToroCore", "ToroMicroVM", "ToroProcess", "ToroTesting", "ToroVirtio",
                    "ToroVirtioFS"),
            swiftSettings: settings),
        .executableTarget(
            name: "WebProbe",
            dependencies: toro(
                "ToroCore", "ToroHTTP", "ToroMicroVM", "ToroVirtioFS", "ToroVsock"),
            swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
