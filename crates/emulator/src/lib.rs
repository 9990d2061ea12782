//! A local Azure IoT Hub to develop and test against: library and binary.
