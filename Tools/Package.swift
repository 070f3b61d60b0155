// swift-tools-version: 6.2
import PackageDescription

/// Every host-side target is checked by the same rules.
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .strictMemorySafety(),
]

let package = Package(
    name: "toro-tools",
    products: [
        .executable(name: "toro", targets: ["toro"]),
        .executable(name: "toro-vsock-device", targets: ["toro-vsock-device"]),
        .library(name: "Launcher", targets: ["Launcher"]),
        .library(name: "LoadClient", targets: ["LoadClient"]),
        .library(name: "VsockDevice", targets: ["VsockDevice"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
        .package(name: "toro", path: ".."),
    ],
    targets: [
        .target(name: "CSeccomp"),
        .target(name: "CLauncher", dependencies: ["CSeccomp"]),
        .target(
            name: "Launcher", dependencies: ["CLauncher", "VhostUser", "VsockDevice"],
            swiftSettings: settings),
        .target(name: "LoadClient", swiftSettings: settings),
        .target(name: "CHostShims", dependencies: ["CSeccomp"]),
        .target(
            name: "VhostUser",
            dependencies: [
                "CHostShims", .product(name: "HeapModule", package: "swift-collections"),
            ],
            swiftSettings: settings),
        .target(
            name: "VsockDevice",
            dependencies: [
                "CHostShims", "VhostUser",
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "toro-vsock-device",
            dependencies: [
                "CHostShims", "VhostUser", "VsockDevice",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "toro",
            dependencies: [
                "Launcher", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "ConfinementProbe", dependencies: ["CHostShims", "CSeccomp"],
            path: "Tests/ConfinementProbe"),
        .executableTarget(name: "DeadMount", path: "Tests/DeadMount"),
        .testTarget(
            name: "LauncherTests",
            dependencies: ["Launcher", .product(name: "ToroTesting", package: "toro")],
            swiftSettings: settings),
        .testTarget(
            name: "VsockDeviceTests",
            dependencies: [
                "CHostShims", "VhostUser", "VsockDevice",
                .product(name: "ToroTesting", package: "toro"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "GuestTests",
            dependencies: [
                "ConfinementProbe", "DeadMount", "Launcher", "LoadClient", "toro",
                "toro-vsock-device",
                .product(name: "ToroCore", package: "toro"),
                .product(name: "ToroHost", package: "toro"),
                .product(name: "ToroTesting", package: "toro"),
            ],
            swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
