//! Another program with the same device id: it connects, and so drives the client out.

use iothub_emulator::OfflineConnection;

/// A CONNECT of MQTT 3.1.1 (3.1) that keeps the session, written by hand: the rival is not our client.
pub(crate) fn connect_packet(client_id: &str, user_name: &str, password: &str) -> Vec<u8> {
    const USER_NAME_AND_PASSWORD: u8 = 0xc0;
    const LEVEL: u8 = 4;
    let mut body = field("MQTT");
    body.extend([LEVEL, USER_NAME_AND_PASSWORD, 0, 0]);
    for text in [client_id, user_name, password] {
        body.extend(field(text));
    }
    let mut packet = vec![0x10];
    let mut length = body.len();
    loop {
        let (more, digit) = (length / 128, length % 128);
        packet.push(u8::try_from(digit).unwrap_or(0) | if more > 0 { 0x80 } else { 0 });
        length = more;
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

fn field(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// Connects; from now on the rival is there, and listens to nothing.
pub(crate) fn arrive(mut connection: OfflineConnection, packet: &[u8]) -> OfflineConnection {
    connection.receive(packet);
    connection
}
