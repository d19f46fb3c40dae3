"""What is repaired, and when: a table and a policy, both pure. `healer` asks them and acts."""
