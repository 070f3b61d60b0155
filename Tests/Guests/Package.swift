// swift-tools-version: 6.2
import PackageDescription

// Guests that the tests boot: each shows, or breaks, one promise of the platform.
let package = Package(
    name: "guests",
    dependencies: [.package(name: "toro", path: "../..")],
    targets: [
        .executableTarget(
            name: "Probe",
            dependencies: [
                .product(name: "ToroCore", package: "toro"),
                .product(name: "ToroMicroVM", package: "toro"),
                .product(name: "ToroProcess", package: "toro"),
                .product(name: "ToroTesting", package: "toro"),
                .product(name: "ToroVirtioFS", package: "toro"),
            ],
            swiftSettings: [
                .enableUpcomingFeature("NonisolatedNonsendingByDefault"), .strictMemorySafety(),
            ])
    ],
    swiftLanguageModes: [.v6]
)
