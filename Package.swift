// swift-tools-version: 6.2
import PackageDescription

/// What every library target is held to.
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
    .strictMemorySafety(),
]

/// A unit: one folder of `Modules/`, one product.
func unit(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Modules/\(name)", swiftSettings: settings)
}

func tests(of name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.byName(name: name)] + dependencies,
        path: "Tests/\(name)Tests", swiftSettings: settings)
}

let package = Package(
    name: "toro",
    products: [
        "ToroCore", "ToroMemory", "ToroProcess", "ToroVirtio", "ToroVirtioFS", "ToroVsock",
        "ToroHTTP", "ToroTesting", "ToroMicroVM", "ToroHost",
    ].map { .library(name: $0, targets: [$0]) },
    targets: [
        .target(name: "CToroCore", path: "Modules/CToroCore"),
        unit("ToroCore", ["CToroCore"]),
        unit("ToroMemory", ["ToroCore"]),
        unit("ToroProcess", ["ToroCore"]),
        .target(name: "CToroVirtio", path: "Modules/CToroVirtio"),
        unit("ToroVirtio", ["CToroVirtio", "ToroCore"]),
        unit("ToroVirtioFS", ["ToroCore", "ToroVirtio"]),
        unit("ToroVsock", ["ToroCore", "ToroVirtio"]),
        unit("ToroHTTP", ["ToroCore"]),
        unit("ToroTesting", ["ToroCore", "ToroVirtio"]),
        .target(
            name: "CMicroVM", dependencies: ["CToroCore"], path: "Platform/microvm/CMicroVM"),
        .target(
            name: "MachineDescription", dependencies: ["ToroCore"],
            path: "Platform/microvm/MachineDescription",
            swiftSettings: settings),
        .target(
            name: "ToroMicroVM",
            dependencies: [
                "CMicroVM", "MachineDescription", "ToroCore", "ToroMemory", "ToroProcess",
                "ToroVirtio",
            ],
            path: "Platform/microvm/ToroMicroVM", swiftSettings: settings),
        .target(name: "CToroHost", path: "Platform/host/CToroHost"),
        .target(
            name: "ToroHost", dependencies: ["CToroHost", "ToroCore", "ToroProcess"],
            path: "Platform/host/ToroHost", swiftSettings: settings),
        tests(of: "ToroCore", ["ToroTesting"]),
        tests(of: "ToroMemory", ["ToroTesting"]),
        tests(of: "ToroProcess", ["ToroTesting", "ToroVirtio", "ToroVirtioFS", "ToroVsock"]),
        tests(of: "ToroVirtio", ["ToroTesting"]),
        tests(of: "ToroVirtioFS", ["ToroTesting", "ToroVirtio"]),
        tests(of: "ToroVsock", ["ToroHTTP", "ToroTesting", "ToroVirtio"]),
        tests(of: "ToroHTTP", ["ToroTesting", "ToroHost"]),
        tests(of: "ToroTesting", []),
        tests(of: "MachineDescription", ["ToroTesting"]),
        tests(of: "ToroHost", ["ToroHTTP", "ToroProcess", "ToroTesting"]),
    ],
    swiftLanguageModes: [.v6]
)
